"""The page in a real browser: all of it is there and drawn, nothing is fetched, and the console stays silent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from dynlab.evaluation.analysis import Analysis
from dynlab.report import write_report
from dynlab.report.palette import PALETTE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MakeAnalysis = Callable[..., Analysis]

# Letter by letter what a user may call things; plotly would read tags, entities, TeX and templates in it.
HOSTILE = "</script><b>b</b> &amp; $x$ %{y}"


@dataclass
class Opened:
    """A page that was opened, and what it did."""

    page: Page
    said: list[str]
    requested: list[str]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """A function that writes analyses to a page and opens it."""
    contexts = []

    def show(analyses: list[Analysis], *, width: int = 1400, scheme: Literal["light", "dark"] = "light") -> Opened:
        path = write_report(analyses, tmp_path / "report.html")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        found = Opened(page, [], [])
        page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
        page.on("request", lambda request: found.requested.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.drawing')].every(drawing => drawing.querySelector('svg.main-svg'))"
        )
        return found

    yield show
    for context in contexts:
        context.close()


def _overflow(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def _broken_images(page: Page) -> list[str]:
    return page.evaluate("[...document.images].filter(image => !(image.naturalWidth > 0)).map(image => image.alt)")


def _unnamed_images(page: Page) -> int:
    return page.evaluate("[...document.images].filter(image => !image.alt).length")


DRAWN = ".trace path, .points path, .bars path, .heatmaplayer image"


def test_sections_pictures_and_curves_are_there(opened: Callable[..., Opened], levels: list[Analysis]) -> None:
    found = opened(levels)
    headings = found.page.locator("h2").all_inner_texts()
    assert headings == [
        "Words and marks",
        "Comparison",
        "σ = 0.15",
        "σ = 0.2",
        "σ = 0.25",
        "σ = 0.3",
        "How kinds were decided",
        "What exactly was computed",
    ]
    for section in (
        "Attractors, the largest basin first",
        "Samples on their way",
        "How fast they come to rest",
        "Fixed points and rates",
    ):
        assert found.page.locator("h3", has_text=section).count() == len(levels)
    assert found.page.locator("details.audit").count() == len(levels)

    attractors = [len(analysis.results.attractors) for analysis in levels]
    assert found.page.locator("section#analysis-1 .gallery").first.locator("img").count() == min(attractors[0], 120)
    assert found.page.evaluate("document.images.length") > sum(attractors)
    assert _broken_images(found.page) == []
    assert _unnamed_images(found.page) == 0

    drawings = found.page.locator(".drawing")
    assert drawings.count() == 5 + 5 * len(levels)
    for drawing in drawings.all():
        assert drawing.locator(DRAWN).count() > 0, drawing.get_attribute("id")
        assert drawing.get_attribute("aria-label")


def test_a_connection_graph_is_drawn_with_its_pictures(
    opened: Callable[..., Opened], make_analysis: MakeAnalysis, with_graph: MakeAnalysis
) -> None:
    found = opened([with_graph(make_analysis(attractors=9), [(0, 1), (1, 2), (2, 9)])])
    drawing = found.page.locator("#analysis-1-connections")
    assert drawing.locator("image").count() == 10
    assert drawing.locator(".points path").count() >= 10 + 3
    assert found.said == []


def test_data_beside_figures_are_downloaded(
    opened: Callable[..., Opened], make_analysis: MakeAnalysis, with_graph: MakeAnalysis
) -> None:
    found = opened([with_graph(make_analysis(attractors=9, name="=1, σ"), [(0, 1), (1, 2)]), make_analysis(sigma=0.3)])
    page = found.page
    links = page.get_by_role("link", name="Data (CSV)", exact=True)
    assert links.count() == page.locator(".drawing").count() > 10
    for number, link in enumerate(links.all()):
        if number % 10 == 9:  # more than ten from one page, and chromium asks the reader
            page.reload()
        anchor = link.get_attribute("aria-describedby")
        assert page.locator(f"[id='{anchor}'][role=img]").get_attribute("aria-label")
        link.focus()
        with page.expect_download() as started:
            page.keyboard.press("Enter")
        assert started.value.suggested_filename == f"{anchor}.csv"
        content = Path(started.value.path()).read_bytes().decode("utf-8", errors="strict")
        header, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
        assert len(rows) > 0
        assert {len(row) for row in rows} == {len(header)}
        assert len(set(header)) == len(header) > 1
    assert page.url.startswith("file:")
    assert found.said == []
    assert {url for url in found.requested if not url.startswith("data:")} == {page.url.partition("#")[0]}


def test_console_is_silent_and_nothing_is_fetched(opened: Callable[..., Opened], levels: list[Analysis]) -> None:
    found = opened(levels)
    found.page.locator("#scheme").click()
    for summary in found.page.locator("summary").all():
        summary.click()
    found.page.locator("#across-attractors").hover()
    found.page.wait_for_timeout(300)
    assert found.said == []
    assert [url for url in found.requested if not url.startswith("data:")] == [found.page.url.partition("#")[0]]


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_sticks_out(
    opened: Callable[..., Opened], levels: list[Analysis], make_analysis: MakeAnalysis, width: int
) -> None:
    long = make_analysis(sigma=None, name="a_very_long_name_without_any_space_" * 5, data="/folder" * 30)
    for analyses in (levels, [long, replace(long)]):
        found = opened(analyses, width=width)
        found.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        assert _overflow(found.page) <= 0
        wide = found.page.evaluate(
            "[...document.querySelectorAll('.drawing svg.main-svg')]"
            ".filter(svg => svg.getBoundingClientRect().right > window.innerWidth).length"
        )
        assert wide == 0


def _colours(page: Page, *, awaited: str = "") -> dict[str, str]:
    """Colours of the page and of the first figure, as the browser computes them; those awaited, once they come."""
    for _ in range(100 if awaited else 0):  # a figure is drawn anew
        if _colours_now(page) == _expected(awaited):
            break
        page.wait_for_timeout(100)
    return _colours_now(page)


def _colours_now(page: Page) -> dict[str, str]:
    return page.evaluate(
        """() => {
          const kept = document.querySelector("#across-outcomes .bars path");
          const tick = document.querySelector("#across-outcomes .xtick text");
          return {
            paper: getComputedStyle(document.body).backgroundColor,
            ink: getComputedStyle(document.body).color,
            kept: getComputedStyle(kept).fill,
            quiet: getComputedStyle(tick).fill,
          };
        }"""
    )


def _expected(scheme: str) -> dict[str, str]:
    def rgb(name: str) -> str:
        colour = getattr(PALETTE[name], scheme)
        return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"

    return {name: rgb(name) for name in ("paper", "ink", "kept", "quiet")}


def test_colours_follow_the_reader(opened: Callable[..., Opened], levels: list[Analysis]) -> None:
    page = opened(levels).page
    assert _colours(page) == _expected("light")
    page.emulate_media(color_scheme="dark")
    assert _colours(page, awaited="dark") == _expected("dark")
    button = page.locator("#scheme")
    assert button.get_attribute("aria-label") == "Use light colours"
    button.focus()
    page.keyboard.press("Enter")
    assert _colours(page, awaited="light") == _expected("light")


def test_dark_from_the_start(opened: Callable[..., Opened], levels: list[Analysis]) -> None:
    assert _colours(opened(levels, scheme="dark").page) == _expected("dark")


def test_names_are_shown_letter_by_letter(opened: Callable[..., Opened], make_analysis: MakeAnalysis) -> None:
    analyses = [
        make_analysis(sigma=None, name=HOSTILE[:20], title=HOSTILE),
        make_analysis(sigma=None, name=HOSTILE[20:]),
    ]
    found = opened([*analyses, make_analysis(sigma=None, name="&lt;")])
    assert found.page.title() == "Three maps on digits/test"
    for name in (HOSTILE[:20], HOSTILE[20:], "&lt;"):
        assert name in found.page.locator("h2").all_text_contents()
        assert name in found.page.locator("#across-outcomes .ytick text").all_text_contents()
        assert name in found.page.locator("#across-orbit .legendtext").all_text_contents()
        assert name in found.page.locator("#across-attractors .xtick text").all_text_contents()
    single = opened(analyses[:1])
    assert single.page.title() == HOSTILE
    assert found.said == single.said == []


@pytest.mark.parametrize(
    "changes",
    [
        {"attractors": 0},
        {"attractors": 1, "explosions": 0, "unresolved": 0},
        {"labelled": False},
        {"separability": False, "recognizer": False},
        {"sigma": None, "state_shape": (2,), "name": "henon"},
        {"state_shape": (3, 5, 4)},
    ],
)
def test_unusual_analyses_are_drawn(
    opened: Callable[..., Opened], make_analysis: MakeAnalysis, changes: dict[str, object]
) -> None:
    found = opened([make_analysis(**changes)], width=380)
    assert found.said == []
    assert _broken_images(found.page) == []
    assert _overflow(found.page) <= 0
