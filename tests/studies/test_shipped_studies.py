"""The studies that come with the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dynlab.studies.grid import cells_of, trainings_of
from dynlab.studies.specification import load_study, shipped_studies
from dynlab.studies.study_data import load_study_data

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = json.loads((REPOSITORY / "dynlab" / "published.json").read_text())

# Models and trainings; of the first three series as the report counts them in section 5.3, with five seeds.
SIZES = {
    "quickstart": (2 * 2 * 2, 8),
    "no_walkback": (3 * 2 * 2 * 2 * 5, 60),
    "walkback": (3 * 3 * 2 * 5, 45),  # k = 1 beside the report's 2 and 3
    "strong_corruption": (2 * 2 * 2 * 5, 20),
    "tied_weights": (3 * 2 * 2 * 3, 36),
    "salt_and_pepper": (2 * 3 * 2 * 3, 36),
    "sensible_corruptions": (11 * 2 * 3, 66),
    "why_walkback": (7 * 3, 21),
    "deep": (3 * 2 * 3, 18),
}


def test_all_are_here_and_in_the_list_of_them() -> None:
    assert set(shipped_studies()) == set(SIZES)
    for name, path in shipped_studies().items():  # in the wheel, where that is what is tested
        assert path.read_bytes() == (REPOSITORY / "analyses" / f"{name}.toml").read_bytes()
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (\d+) \| (\d+) \|$", (REPOSITORY / "analyses" / "README.md").read_text(), re.MULTILINE
    )
    assert {name: (int(models), int(trainings)) for name, models, trainings in rows} == SIZES


@pytest.mark.parametrize("name", SIZES)
def test_each_is_right_and_says_what_it_asks(name: str) -> None:
    study = load_study(name)
    cells = cells_of(study, "0" * 64)
    assert (len(cells), len(trainings_of(cells))) == SIZES[name]
    assert study.question.endswith("?")
    head = shipped_studies()[name].read_text().partition("title =")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "# Asked:" in head
    assert "# Published" in head


@pytest.mark.parametrize(
    ("name", "series", "walkback"),
    [
        ("no_walkback", "no_walkback", [1]),
        ("walkback", "walkback_2_3", [1, 2, 3]),  # with 1 to compare
        ("strong_corruption", "walkback_4_5", [4, 5]),
    ],
)
def test_the_report_is_trained_as_it_says(name: str, series: str, walkback: list[int]) -> None:
    """Against the published protocol: every combination of each series, as `SIZES` counts them, and nothing else."""
    protocol = PUBLISHED["protocol"]
    asked = protocol["series"][series]
    study = load_study(name)
    settings = [one for points in study.grids for one in points]
    told = {setting: sorted({getattr(one, setting) for one in settings}) for setting in ("sigma", "epochs")}
    assert told == {setting: asked[setting] for setting in told}
    assert sorted({one.batch_size for one in settings}) == asked["batch_size"]
    assert set(asked["k"]) <= set(walkback)
    assert sorted({one.walkback for one in settings}) == walkback
    assert sorted({one.annealing for one in settings}) == ([0.99] if name == "walkback" else asked["alpha"])
    assert {one.seed for one in settings} == set(range(protocol["seeds"]))
    for setting, value in {
        "hidden": protocol["hidden_units"],
        "tied": protocol["tied"],
        "learning_rate": protocol["learning_rate"],
        "corruption": "gaussian",
        "loss": "squared-error",
        "walkback_variant": "full",
        "hidden_nonlinearity": "sigmoid",
        "output_nonlinearity": "sigmoid",
    }.items():
        assert {getattr(one, setting) for one in settings} == {value}
    # "below 1e-4 for more than 75% of them"
    assert (study.iteration.tolerance, study.iteration.share) == (1e-4, 0.75)
    assert (study.data.train, study.data.limit_train, study.data.limit_test) == ("mnist/train", None, None)


def test_figures_quoted_are_the_published_ones() -> None:
    def table(name: str) -> list[list[float]]:
        """The numbers of the indented lines of a head that begin with one."""
        lines = shipped_studies()[name].read_text().splitlines()
        return [[float(number) for number in line[1:].split()] for line in lines if re.match(r"#     \d", line)]

    table_1a = {(row["sigma"], row["k"]): [row["acc_test"], row["explosions_test"]] for row in PUBLISHED["table_1a"]}
    assert table("walkback") == [
        [sigma, *(figure for k in (1, 2, 3) for figure in table_1a[sigma, k])] for sigma in (0.3, 0.5, 0.7)
    ]
    columns = ("k", "epochs", "alpha", "acc_train", "acc_test", "mse_wb_train", "mse_wb_test", "explosions_test")
    for ours, row in zip(table("strong_corruption"), PUBLISHED["table_1b_legible"], strict=True):
        assert ours[:3] == [row[name] for name in columns[:3]]
        # Two accuracies are missing there, and stand in the text of the report's table.
        assert [figure for name, figure in zip(columns, ours, strict=True) if name in row] == [
            row[name] for name in columns if name in row
        ]


def test_data_of_the_quick_start_fit() -> None:
    data = load_study_data(load_study("quickstart"))
    assert (len(data.train.images), len(data.test.images)) == (1000, 797)
