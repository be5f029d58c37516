"""The parts of a study's page: Markdown, tables, figures with their data, the sensitive colour scale."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dynlab.errors import InputError
from dynlab.report.drawing import drawing_of
from dynlab.report.figure_data import figure_data
from dynlab.report.palette import contrast
from dynlab.report.pictures import screen_for
from dynlab.report.study.explosion_figures import ReachLine, reach_figure
from dynlab.report.study.figures import (
    ErrorPoints,
    OrbitLine,
    RunPoint,
    Series,
    accuracy_and_explosions,
    along_orbit,
    range_of,
    setting_dots,
)
from dynlab.report.study.orbit_figures import Bundle, cosines_figure, distances_figure, step_lengths_figure
from dynlab.report.study.page import markdown, render_study_page, write_page
from dynlab.report.study.parts import (
    Chart,
    Failed,
    Link,
    Part,
    Picture,
    PictureTable,
    StudyPage,
    StudySection,
    Table,
)
from dynlab.report.study.pictures import sensitive_colours, sensitive_pixels, sensitive_scale, signed_pixels

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "</script><b>b</b> &amp; $x$ %{y}"


def rows_of(figure: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure_data(figure))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>"),
        ("**a** and *b c*", "<p><strong>a</strong> and <em>b c</em></p>"),
        ("2 * 3 * 4", "<p>2 * 3 * 4</p>"),
        ("`a * b *` <i>", "<p><code>a * b *</code> &lt;i&gt;</p>"),
        ("So:\n- one\n  more\n- *two*", "<p>So:</p><ul><li>one more</li><li><em>two</em></li></ul>"),
        ("* one\n\n[x](javascript:y)", "<ul><li>one</li></ul>\n<p>[x](javascript:y)</p>"),
    ],
)
def test_markdown(text: str, expected: str) -> None:
    assert str(markdown(text)).replace("</p>\n<ul>", "</p><ul>") == expected


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="rows has one of 1 cells, expected 2"):
        Table("words", ("a", "b"), [("1", "2"), ("3",)])


def test_the_sensitive_scale_is_finest_at_its_ends_and_never_darkens() -> None:
    values = np.linspace(0, 1, 2001)
    colours = sensitive_colours(values).astype(int)
    hexes = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours]
    luminance = [contrast(colour, "#000000") for colour in hexes]
    assert all(later >= before - 1e-9 for before, later in itertools.pairwise(luminance))
    low, high = values < 0.05, values > 0.95
    distinct = [len(np.unique(colours[part], axis=0)) for part in (low, high, ~(low | high))]
    assert min(distinct[0] / low.sum(), distinct[1] / high.sum()) > 10 * distinct[2] / (~(low | high)).sum()
    grey = colours[~(low | high)][1:-1]
    assert (grey == grey[:, :1]).all()
    assert (colours[low][:, 2] > colours[low][:, 0]).all()  # blue
    assert (colours[high][:, 0] > colours[high][:, 2]).all()  # orange
    # a hundredth at either end is seen: a contrast that the same step in the middle does not have
    changes = [contrast(hexes[2 * at], hexes[2 * at + 20]) for at in (0, 960, 500)]
    assert min(changes[0], changes[1]) > 1.05 > changes[2]
    outside = sensitive_colours(np.array([-3.0, 7.0, np.nan, 0.5])).tolist()
    assert outside[0] == colours[0].tolist()
    assert outside[1] == colours[-1].tolist()
    assert outside[2] == outside[3]


def test_pictures_of_states_and_weights() -> None:
    screen = screen_for((2, 3))
    state = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert sensitive_pixels(state, screen).shape == (2, 3, 3)
    assert sensitive_scale().ticks == ("0", "0.05", "0.95", "1")
    assert np.array_equal(signed_pixels(2 * state - 1, screen), screen.pixels(state))
    assert np.array_equal(signed_pixels(torch.zeros(6), screen), screen.pixels(torch.full((6,), 0.5)))
    assert Picture(screen.pixels(state), "").source == screen.picture(state)


def test_links_of_a_discussion() -> None:
    text = 'See [the *report*](https://a.b/c?d=1&e=2), [no](javascript:x), `[code](https://a.b)` and [x](https://a.b/"><b>).'
    assert markdown(text) == (
        '<p>See <a href="https://a.b/c?d=1&amp;e=2">the <em>report</em></a>, [no](javascript:x), '
        "<code>[code](https://a.b)</code> and [x](https://a.b/&#34;&gt;&lt;b&gt;).</p>"
    )


def test_figure_5_has_all_points_and_shares_its_ranges() -> None:
    runs = [RunPoint(10.0 + row, 0.8 + row / 100, 50.0 * row, "σ = 0.3", str(row)) for row in range(3)]
    average = RunPoint(11.0, 0.81, 50.0, "σ = 0.3", "3")
    figure: Any = accuracy_and_explosions([ErrorPoints(Series("k = 1", 0, 1), runs, [average])], (0.7, 0.9), (0, 100))
    rows = rows_of(figure)
    assert len(rows) == 8
    assert [float(row["acc_test"]) for row in rows[:3]] == pytest.approx([0.8, 0.81, 0.82])
    assert [float(row["explosions_test"]) for row in rows[4:]] == [0, 50, 100, 50]
    assert figure.layout.yaxis.range == (0.7, 0.9)
    assert figure.layout.yaxis2.range == (0, 100)
    several: Any = accuracy_and_explosions(
        [ErrorPoints(Series(f"k = {row}", row, 2), runs, [average]) for row in range(2)], (0, 1), (0, 1)
    )
    assert [trace.name for trace in several.data if trace.showlegend] == ["k = 0", "k = 1"]
    assert len({trace.marker.color for trace in several.data}) == 2


def test_the_orbit_ends_one_place_after_its_last_step() -> None:
    line = OrbitLine(Series("k = 2", 0, 1), [0, 1, 2, 4], [0.5, 0.6, 0.7, 0.65], 0.4, 3)
    figure: Any = along_orbit([line], 0.5, (0, 1))
    assert figure.data[0].x == (-1.0, 0.0, 1.0, 2.0, 3.0)
    rows = rows_of(figure)
    assert [row["step"] for row in rows] == ["0", "1", "2", "4", "end"]
    assert [float(row["test_accuracy"]) for row in rows] == [0.5, 0.6, 0.7, 0.65, 0.4]


def test_figure_7() -> None:
    lengths = np.exp(-np.arange(100))[:, None] * np.array([1.0, 2.0])
    bundles = [Bundle("good", "kept", "solid", [0], [17]), Bundle("bad", "changed", "dash", [1], [4])]
    rows = rows_of(step_lengths_figure(lengths, bundles, 20, log=False))
    assert len(rows) == 40
    assert (rows[0]["step"], float(rows[0]["step_length"]), rows[0]["sample"]) == ("1", 1.0, "17")
    assert (rows[39]["step"], rows[39]["samples"]) == ("20", "bad")
    distances = np.concatenate([lengths, np.zeros((2, 2))])
    rows = rows_of(distances_figure(distances, bundles, 101))
    assert [row["step"] for row in rows][:3] == ["0", "4", "8"]
    assert all(float(row["distance"]) > 0 for row in rows)


def test_figures_of_weights_explosions_and_settings() -> None:
    rows = rows_of(cosines_figure(np.array([0.91, 0.92, 1.0]), np.array([-0.01, 0.01, 0.3])))
    own = {(float(row["from"]), float(row["to"])): int(row["units"]) for row in rows if row["with"] == "its own column"}
    assert own == {(0.9, 0.95): 2, (0.95, 1.0): 1}
    reach = reach_figure(
        [ReachLine(Series("σ", 0, 1), [1.0, 2.0], [1.0, 0.5], [(0.9, 1.0), (0.4, 0.6)], 10)],
        "distance",
        "distance",
        log=True,
    )
    assert [(row["distance"], row["share"], row["low"]) for row in rows_of(reach)] == [
        ("1.0", "1.0", "0.9"),
        ("2.0", "0.5", "0.4"),
    ]
    dots = rows_of(setting_dots([(["a", "b"], [1.0, 3.0], ["seed 0", "seed 1"]), (["c"], [], [])], "x", "acc"))
    assert [(row["setting"], row["acc"], row["seed"]) for row in dots] == [
        ("a, b", "1.0", "seed 0"),
        ("a, b", "3.0", "seed 1"),
        ("a, b", "2.0", "mean"),
    ]


def test_ranges_hold_all_values() -> None:
    low, high = range_of([0.2, 0.8])
    assert low < 0.2 < 0.8 < high
    low, high = range_of([3.0])
    assert low < 3 < high
    assert range_of([]) == (0.0, 1.0)


def page_of(text: str) -> StudyPage:
    """A page with a part of each kind, and that text everywhere."""
    figure = setting_dots([([text], [1.0, 2.0], [text, "seed 1"])], "value", "value")
    drawing = drawing_of("dots", figure, text)
    assert drawing is not None
    picture = Picture(screen_for((2, 2)).pixels(torch.eye(2).flatten()), text)
    long = Table(text, [text, *map(str, range(40))], [[text, *("0.123 ± 0.456" for _ in range(40))]], text)
    pictures = PictureTable(
        text,
        ["", *(str(row) for row in range(30))],
        [(text, [picture, None] * 15)],
        groups=[(text, 15), (text, 15)],
        apart=frozenset({15}),
        scale=sensitive_scale(),
    )
    parts = [
        Part(text, [text], [long], [Chart(text, drawing)], [pictures]),
        Part(text, tables=[long], folded=text),
    ]
    return StudyPage(
        title=text,
        question=text,
        introduction=[text],
        failures=[Failed(text, text)],
        discussion=text,
        links=[Link("results.csv", text)],
        sections=[StudySection("one", text, text, parts)],
        identity=[(text, text)],
    )


def test_all_text_is_escaped() -> None:
    body = render_study_page(page_of(HOSTILE)).partition("<body>")[2]
    assert "<b>" not in body
    assert HOSTILE not in body
    assert body.count("&lt;/script&gt;&lt;b&gt;b&lt;/b&gt; &amp;amp; $x$ %{y}") > 20


def test_a_folder_is_no_path_of_a_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected a file name"):
        write_page(page_of("x"), tmp_path)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_the_page_in_a_browser(browser: Browser, tmp_path: Path, width: int, scheme: Any) -> None:
    path = write_page(page_of(HOSTILE + " " + 60 * "x"), tmp_path / "index.html")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_selector("#dots svg.main-svg .points path")
    assert [one for one in said if not one.startswith("data:")] == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == ("rgb(235, 232, 225)" if scheme == "dark" else "rgb(33, 31, 28)")
    context.close()
