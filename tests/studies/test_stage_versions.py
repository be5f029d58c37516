"""Stored results stay good until a stage's version says otherwise: so its results must not change without it.

For each stage `stage_references.json` holds its version and a summary of what it makes of the tiny study of
`stage_runs`. When a test here fails because a stage shall give other results, raise the version in its module and write
the references anew:

    python tests/studies/test_stage_versions.py

This refuses to store other results under the same version. Numbers are compared within tolerances
(`stage_summaries`), so that other machines pass.
"""

from __future__ import annotations

import json
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # where this runs as a program; pytest knows the place

from stage_runs import run_stages
from stage_summaries import differences, summary

from dynlab.studies.stages import STAGES, Stage

REFERENCES = Path(__file__).with_name("stage_references.json")
HOW = "write the references anew: python tests/studies/test_stage_versions.py"


def summary_of(stage: Stage, folders: dict[str, Path]) -> dict[str, Any]:
    """What a stage holds; of one with shards its last, which begins where another one ends."""
    name = [name for name in folders if stage.name in (name, name.rpartition("-")[0])][-1]
    return summary(folders[name])


def complaint(stage: Stage, found: dict[str, Any], references: dict[str, Any]) -> str | None:
    """What is wrong with the version of a stage; None if nothing is."""
    known = references.get(stage.name)
    if known is None:
        return f"{stage.name}: has no reference result; {HOW}"
    changed = differences(stage.name, found, known["summary"])
    if known["version"] != stage.version:
        return f"{stage.name}: has version {stage.version}, the reference result {known['version']}; {HOW}"
    if changed:
        lines = "\n  ".join(changed[:20])
        return (
            f"{stage.name}: {len(changed)} results changed, and the version is still {stage.version}; raise it in "
            f"dynlab/studies/stages/{stage.name}.py, so that stored results are computed anew:\n  {lines}"
        )
    return None


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_results_change_with_the_version_only(stage: Stage, stage_folders: dict[str, Path]) -> None:
    wrong = complaint(stage, summary_of(stage, stage_folders), json.loads(REFERENCES.read_text()))
    assert wrong is None, wrong


def test_changes_are_noticed(stage_folders: dict[str, Path]) -> None:
    (iterate,) = [stage for stage in STAGES if stage.name == "iterate"]
    found = summary(stage_folders["iterate"])
    references = {"iterate": {"version": iterate.version, "summary": found}}
    assert complaint(iterate, found, references) is None
    assert "no reference" in str(complaint(iterate, found, {}))
    older = {"iterate": {"version": iterate.version - 1, "summary": found}}
    assert "write the references anew" in str(complaint(iterate, found, older))

    states, key = "test: states", "results.steps_test"
    for name, value in (
        (key, found[key] + 1),
        (states, found[states] | {"mean": 1.01 * found[states]["mean"]}),
        (states, found[states] | {"type": "torch.float64"}),
        (states, found[states] | {"shape": "[1]"}),
        ("results.errors_corruption", "clean"),
        ("results.something", 1),
    ):
        changed = deepcopy(found) | {name: value}
        assert f"{name}: " in str(complaint(iterate, changed, references))
    changed = {name: value for name, value in found.items() if name != key}
    assert f"{key}: is missing" in str(complaint(iterate, changed, references))


def write_references() -> int:
    """Store the results of today; the exit status."""
    references = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        folders = run_stages(Path(folder))
        refused = False
        for stage in STAGES:
            found = summary_of(stage, folders)
            known = references.get(stage.name)
            wrong = complaint(stage, found, references)
            if known and known["version"] == stage.version:
                if wrong:
                    print(wrong)
                    refused = True
                continue
            references[stage.name] = {"version": stage.version, "summary": found}
            print(f"{stage.name}: version {stage.version} written")
    REFERENCES.write_text(json.dumps(references, indent=1) + "\n")
    return int(refused)


if __name__ == "__main__":
    sys.exit(write_references())
