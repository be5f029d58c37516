"""The published figures, ours beside them, and the README that shows both."""

from __future__ import annotations

import itertools
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from study_rows import row

from dynlab.published import figures_of, published_figures
from dynlab.studies.answers.columns import interval_text, measured, number_text
from dynlab.studies.answers.comparison import Comparison, compare
from dynlab.studies.answers.groups import statistic
from dynlab.studies.answers.readme import escaped, readme_of
from dynlab.studies.answers.rows import Row
from dynlab.studies.running.failures import Failure
from dynlab.studies.specification import Study, load_study
from dynlab.studies.study_data import load_study_data

TEXT = resources.files("dynlab").joinpath("published.json").read_text(encoding="utf-8")
PRINTED = json.loads(TEXT)


def compared(name: str, rows: list[Row]) -> Comparison:
    found = compare(load_study(name), rows)
    assert found is not None
    return found


def test_figures_are_those_of_the_file() -> None:
    figures = published_figures()
    for table, printed in ((figures.table_1a, PRINTED["table_1a"]), (figures.table_1b, PRINTED["table_1b_legible"])):
        assert len(table) == len(printed)
        for entry, values in zip(table, printed, strict=True):
            assert {name: entry.value(name) for name in values} == values
            assert set(values) <= {"k", "sigma", "epochs", "alpha", *entry.columns}
    assert figures.winner.label == "k = 5, sigma = 0.7, N = 250, alpha = 0.999"
    assert figures.winner.acc_test == 0.932
    assert (figures.network_gain, figures.seeds) == (0.003, 5)
    assert figures.pixels[0.5].black == PRINTED["other_figures"]["pixels_black_below_0.01_percent"]["middle"] / 100
    assert (
        figures.original_pixels.white
        == PRINTED["other_figures"]["pixels_white_above_0.95_percent"]["original_test_images"] / 100
    )
    assert figures.explosion_intensity == 0.149


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"acc_test": 0.823', '"acc_test": 8.23'),
        ('"acc_test": 0.823', '"accuracy": 0.823'),
        ('{"k": 2, "sigma": 0.3, "acc', '{"k": 1, "sigma": 0.3, "acc'),
        ('"high": 0.7}', '"high": 0.8}'),
        ('"table_1b_legible"', '"table_1b"'),
    ],
)
def test_another_file_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=r"published|levels"):
        figures_of(TEXT.replace(old, new))


def test_what_is_said_of_table_1a_is_so() -> None:
    """Each mean count of explosions is that of five runs; of ten or more, all nine would rarely look so."""
    for entry in PRINTED["table_1a"]:
        assert 5 * entry["explosions_test"] == pytest.approx(round(5 * entry["explosions_test"]), abs=1e-9)
    words = compared("walkback", []).assumption
    assert "b = 20 and alpha = 0.99" in words
    assert "multiple of 0.2" in words


def test_differences_are_those_by_hand() -> None:
    accuracies, explosions = (0.80, 0.82, 0.84), (800, 900, None)
    rows = [
        row(seed=seed, acc_test=accuracy, explosions_test=count)
        for seed, (accuracy, count) in enumerate(zip(accuracies, explosions, strict=True))
    ]
    lines = {(line.entry.k, line.entry.sigma): line for line in compared("walkback", rows).lines}
    accuracy, count = lines[1, 0.7].quantities
    assert (accuracy.name, accuracy.published, accuracy.ours.n) == ("acc_test", 0.822, 3)
    assert accuracy.difference == pytest.approx(0.82 - 0.822, abs=1e-12)
    assert accuracy.in_sd == pytest.approx(-0.002 / (0.02 * math.sqrt(1 / 3 + 1 / 5)), rel=1e-9)
    assert (count.ours.n, count.difference, count.in_sd) == (2, pytest.approx(850 - 887.8), None)  # two seeds only
    nothing = lines[2, 0.5]
    assert nothing.group is None
    assert [(one.published, one.ours.n, one.difference) for one in nothing.quantities] == [
        (0.899, 0, None),
        (206.2, 0, None),
    ]


def test_a_setting_stands_for_an_entry_by_the_rule_that_is_told() -> None:
    def rows(seeds: int, **settings: Any) -> list[Row]:
        return [row(seed=seed, acc_test=0.8, **settings) for seed in range(seeds)]

    of_k_1 = [
        *rows(5, epochs=100),  # not one that the report had for k = 1
        *rows(2, epochs=250),
        *rows(1, epochs=500),
        *rows(5, epochs=500, batch_size=50),
        *rows(5, epochs=250, annealing=0.999),
        *rows(5, epochs=250, tied=True),  # the report does not have these in its tables
        *rows(5, epochs=250, corruption="square(0.4)"),
        *rows(5, epochs=250, hidden=1000),
    ]
    of_k_2 = [*rows(2, epochs=100, walkback=2), *rows(2, epochs=250, walkback=2)]
    found = compared("walkback", of_k_1 + of_k_2).lines
    standing = {
        line.entry.k: line.group.settings for line in found if line.stands and line.group and line.entry.sigma == 0.7
    }
    assert {k: (one.epochs, one.batch_size, one.annealing) for k, one in standing.items()} == {
        1: (250, 20, 0.99),
        2: (250, 20, 0.99),
    }
    assert len([line for line in found if (line.entry.k, line.entry.sigma) == (1, 0.7)]) == 5
    assert sum(line.stands for line in found) == 9


def test_contrasts_are_judged_at_equal_epochs() -> None:
    printed = {(one["k"], one["sigma"]): one["acc_test"] for one in PRINTED["table_1a"]}
    pairs = [
        pair
        for pair in itertools.combinations(printed, 2)
        if round(abs(printed[pair[0]] - printed[pair[1]]), 6) >= 0.02
    ]
    rows = [
        row(walkback=k, sigma=sigma, epochs=100, seed=seed, acc_test=accuracy + 0.01 * (seed - 0.5))
        for (k, sigma), accuracy in printed.items()
        for seed in (0, 1)
    ]
    rows += [row(walkback=k, sigma=0.5, epochs=250, acc_test=1 - printed[k, 0.5]) for k in (1, 2)]
    found = compared("walkback", rows)
    at_100 = [one for one in found.contrasts if one.first_epochs == one.second_epochs == 100]
    assert [((one.first.k, one.first.sigma), (one.second.k, one.second.sigma)) for one in at_100] == pairs
    for one in at_100:
        assert one.ours == pytest.approx(one.published, abs=1e-12)
        assert one.same_way
        # Each of two means over two seeds, 0.01 apart, has a variance of 0.01^2 / 4.
        assert one.standard_error == pytest.approx(math.sqrt(2 * 0.01**2 / 4), rel=1e-9)
    (turned,) = [one for one in found.contrasts if one.first_epochs == 250]
    assert (turned.same_way, turned.standard_error) == (False, None)
    assert turned.ours == pytest.approx(0.859 - 0.899)
    assert [(check.found, check.holds) for check in found.checks] == [
        (f"{len(pairs)} of {len(pairs)}", True),
        ("0 of 1", False),
    ]
    # Where two have no number of epochs in common, what stands for them is compared.
    mixed = compared("walkback", [row(walkback=1, acc_test=0.8), row(walkback=3, epochs=100, acc_test=0.9)])
    (one,) = [one for one in mixed.contrasts if one.ours is not None]
    assert (one.first_epochs, one.second_epochs, one.same_way) == (250, 100, True)
    assert "different numbers of epochs" in mixed.checks[0].what
    assert (mixed.checks[1].what.split(" contrasts")[0], mixed.checks[1].holds) == (
        f"{len(pairs) - 1} of {len(pairs)}",
        None,
    )


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, [True, True, True, True]),
        ({"acc_test": 0.9289}, [False, True, True, True]),
        ({"explosions_test": 61}, [True, False, True, True]),
        ({"mse_wb_train": 13.364 * 1.031}, [True, True, False, True]),
        ({"mse_wb_test": 13.712 * 0.969}, [True, True, True, False]),
        ({"annealing": 0.99}, [None] * 4),  # not the winner
    ],
)
def test_the_winner_is_judged(changes: dict[str, Any], holds: list[bool | None]) -> None:
    winner: dict[str, Any] = {
        "walkback": 5,
        "annealing": 0.999,
        "acc_test": 0.929,
        "acc_net_test": 0.933,
        "acc_raw_test": 0.92,
        "explosions_test": 60,
        "mse_wb_train": 13.364 * 1.029,
        "mse_wb_test": 13.712 * 0.971,
    }
    found = compared("strong_corruption", [row(**winner | changes)])
    assert [check.holds for check in found.checks] == holds
    if not changes:
        raw, network = found.others
        assert raw.ours.mean == pytest.approx(0.009)
        assert (network.published, network.difference) == (0.003, pytest.approx(0.001))


def test_where_a_study_is_not_as_the_report_was_is_said(tmp_path: Path) -> None:
    assert compared("walkback", []).caveats == ()
    assert compare(load_study("quickstart"), []) is None
    train, test, rule = compare_small(tmp_path)[1].caveats
    assert "first 30 samples of digits/train" in train
    assert "digits/test" in test
    assert "0.001" in rule


def compare_small(folder: Path, rows: list[Row] | None = None) -> tuple[Study, Comparison]:
    path = folder / "small.toml"
    path.write_text(
        """
        title = "A | *small* study"
        question = "Is <b>this</b> shown?"
        published = "table_1a"
        discussion = "It *is*.\\n\\n- So it seems."
        [data]
        train = "digits/train"
        limit_train = 30
        test = "digits/test"
        [[grid]]
        sigma = 0.7
        epochs = [100, 250]
        seeds = 4
        [iteration]
        tolerance = 1e-3
        [analyses]
        separability = {}
        """
    )
    study = load_study(path)
    found = compare(study, rows or [])
    assert found is not None
    return study, found


def test_the_readme_shows_them_and_the_discussion(tmp_path: Path) -> None:
    rows = [row(seed=seed, acc_test=0.80 + 0.02 * seed, mse_test=10.0 - seed) for seed in range(4)]
    study, comparison = compare_small(tmp_path, rows)
    failures = [Failure("train", "sigma 0.7: train", (), "a|b", None)] * 2
    data = load_study_data(study)
    pictures = {"figure_5.png": "Rows: σ = 0.3; a | b."}
    text = readme_of(study, data, rows, comparison, failures=failures, pictures=pictures)
    assert text == readme_of(study, data, rows, comparison, failures=failures, pictures=pictures)
    assert text.startswith("# A \\| \\*small\\* study\n\nIs \\<b\\>this\\</b\\> shown?\n\n")
    assert "\n![figure 5](figure_5.png)\n\nRows: σ = 0.3; a \\| b.\n" in text
    assert "results of 4 of 8 models" in text
    assert text.count("- sigma 0.7: train: a\\|b") == 1
    assert "\n## Discussion\n\nIt *is*.\n\n- So it seems.\n" in text
    in_units = (0.83 - 0.822) / (math.sqrt(0.002 / 3) * math.sqrt(1 / 4 + 1 / 5))
    assert f"| 1 | 0.7 | 250 | 0.99 | 20 | 4 | 0.8300 ± 0.0258 | 0.822 | +0.0080 | {in_units:+.1f} |" in text
    assert "no models of ours for k = 1, sigma = 0.3; k = 1, sigma = 0.5; k = 2" in text
    assert "| 0.7 | walkback 1 | 4 | 4 | −1.00 |" in text
    assert comparison.assumption.replace("_", "\\_") in text
    # Every line of a table has as many cells as its head.
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("two\nlines", "two lines"),
        ("1. first", "\\1. first"),
        ("- item", "\\- item"),
        ("-1.5", "-1.5"),
        ("[x](y) `z` $m$", "\\[x\\](y) \\`z\\` \\$m\\$"),
    ],
)
def test_text_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_numbers_have_the_digits_and_the_sign_that_a_reader_needs() -> None:
    differences = [number_text(value, 4, is_difference=True) for value in (-0.00004, 0.01, -0.5, None)]
    assert differences == ["0.0000", "+0.0100", "−0.5000", "–"]
    assert [number_text(-1.5, 3), number_text(2, 1), number_text(None, 4)] == ["−1.500", "2.0", "–"]
    assert measured(statistic([1.0, 2.0, 3.0]), 1) == "2.0 ± 1.0"
    assert [measured(statistic(values), 1) for values in ([2.0], [None])] == ["2.0", "–"]
    assert [interval_text(-0.5, high, 2) for high in (0.25, None)] == ["−0.50 to +0.25", "–"]
