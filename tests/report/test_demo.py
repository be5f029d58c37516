"""The demo as a newcomer runs it, and its page in a real browser."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dynlab.evaluation import Analysis
from dynlab.maps import DenoisingAutoencoder, map_hash

LEVELS = ("0.15", "0.2", "0.25", "0.3")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `dynlab demo` made."""
    folder = tmp_path_factory.mktemp("demo")
    # In a process of its own, as it is run: with all shapes checked it takes three times as long.
    command = [sys.executable, "-m", "dynlab", "demo", "--out", str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert str(folder / "index.html") in finished.stdout
    return folder


def test_each_level_has_its_results_and_attractors_fall_with_the_corruption(demo: Path):
    assert sorted(path.name for path in demo.iterdir()) == ["index.html", *(f"sigma-{level}" for level in LEVELS)]
    analyses = [Analysis.load(demo / f"sigma-{level}") for level in LEVELS]
    for level, analysis in zip(LEVELS, analyses, strict=True):
        autoencoder = DenoisingAutoencoder.load(demo / f"sigma-{level}" / "dae.safetensors")
        assert analysis.results.map.sha256 == map_hash(autoencoder)
        assert analysis.results.map.corruption_level == float(level)
        assert analysis.results.separability is not None
        assert analysis.results.recognizer is not None
        assert analysis.results.recognizer.balanced_accuracy >= 0.9
    assert all(more > fewer for more, fewer in pairwise(len(a.results.attractors) for a in analyses))


def test_its_page_opens_with_pictures_and_a_silent_console(demo: Path, browser: Browser):
    said: list[str] = []
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((demo / "index.html").as_uri())
    page.wait_for_function(
        "[...document.querySelectorAll('.drawing')].every(drawing => drawing.querySelector('svg.main-svg'))"
    )
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 100
    assert page.locator(".drawing").count() >= len(LEVELS)
    assert [page.locator("h2", has_text=f"σ = {level}").count() > 0 for level in LEVELS] == [True] * len(LEVELS)
    assert said == []
    context.close()
