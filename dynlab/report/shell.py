"""What all pages share: the templates, with what they may call, and the style and scripts that each page holds."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from dynlab.evaluation.kinds import NO_PICTURE, Kind, Outcome
from dynlab.published import published_figures
from dynlab.report import gallery, words
from dynlab.report.drawing import inline_json
from dynlab.report.palette import PALETTE
from dynlab.report.published_for_map import TEST_SAMPLES
from dynlab.report.restless import exponents_text
from dynlab.report.robustness.films import STEPS as SHOCK_STEPS

if TYPE_CHECKING:
    from jinja2 import Environment


def assets() -> dict[str, Any]:
    """What `shell.html.jinja` puts into every page: colours, style and scripts."""
    from plotly.offline import get_plotlyjs

    folder = resources.files("dynlab.report") / "templates"
    return {
        "palette": PALETTE,
        "colours": inline_json({colour.light: name for name, colour in PALETTE.items()}),
        "style": folder.joinpath("page.css").read_text(encoding="utf-8"),
        "script": folder.joinpath("page.js").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
    }


def environment() -> Environment:
    """The templates of all pages, with what they may call."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dynlab.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "signed": words.signed,
        "percent": words.percent,
        "number": words.number,
        "count": words.count,
        "plural": words.plural,
        "setting": words.setting,
    }
    environment.filters.update(filters)
    environment.globals.update(
        Outcome=Outcome,
        Kind=Kind,
        NO_PICTURE=NO_PICTURE,
        outcome_share=words.outcome_share,
        outcome_mark=gallery.outcome_mark,
        kind_mark=gallery.kind_mark,
        diversity_words=words.diversity_words,
        explosion_words=words.explosion_words,
        steps_of=words.steps_of,
        rule_words=words.rule_words,
        exponents_text=exponents_text,
        PUBLISHED_SAMPLES=TEST_SAMPLES,
        PUBLISHED=published_figures(),
        SHOCK_STEPS=SHOCK_STEPS,
        AUDITED=gallery.AUDITED,
        RECOGNIZER_NEEDS=words.RECOGNIZER_NEEDS,
        AUDIT_SEED=gallery.AUDIT_SEED,
    )
    return environment
