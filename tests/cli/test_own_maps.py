"""`dynlab analyse` on maps that are Python code: what it finds is what `dl.analyse` finds, and code may be wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dynlab as dl

Run = Callable[..., tuple[int, str, str]]

CODE = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import dynlab as dl
from helper_of_maps import gain


def step(states):
    return torch.tanh(gain() * states)


@dataclass
class Settings:
    width: int = 5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(12, Settings().width), nn.Linear(Settings().width, 12)

    def forward(self, states):
        return torch.sigmoid(self.outer(torch.tanh(self.inner(states.flatten(1))))).reshape(states.shape)


class Own(dl.Map):
    def __init__(self):
        super().__init__(12)

    def forward(self, states):
        return states / 2


def made(scale=1.0):
    return dl.as_map(Net(), (1, 3, 4))


def failing():
    return undefined


def leaving():
    raise SystemExit("no weights here")


class Shapeless(dl.Map):
    def __init__(self):
        super().__init__(12)

    def forward(self, states):
        return states[:, :2]


class Thinned(Own):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, states):
        return self.dropout(states) / 2


class Forgetful(dl.Map):
    def __init__(self):
        super().__init__(12)
        self.weight = torch.eye(12) / 2  # neither a parameter nor a buffer

    def forward(self, states):
        return states @ self.weight


def random():
    return dl.as_map(lambda states: states * torch.rand(1), (12,))


def closed_over():
    secret = open(__file__)
    return lambda states: states / (2 if secret else 3)


def of_other_shape(states):
    return states[:, :2]


net = Net()
number = 3
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Iterator[None]:
    """A file of maps with one that it imports, and samples; what is imported is forgotten again."""
    (tmp_path / "maps.py").write_text(CODE)
    (tmp_path / "helper_of_maps.py").write_text("def gain():\n    return 1.5\n")
    (tmp_path / "broken.py").write_text("import torch\n\nweights = torch.zeros(3) @ torch.zeros(4)\n")
    (tmp_path / "lacking.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "crooked.py").write_text("def step(states:\n")
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).random((6, 3, 4), dtype=np.float32))
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("_file_") or name in ("maps", "helper_of_maps", "broken", "lacking", "crooked"):
            del sys.modules[name]
    sys.path[:] = path


def reference(name: str) -> dl.Map:
    space: dict[str, Any] = {"__name__": "reference"}
    sys.modules["reference"] = type(sys)("reference")
    exec(compile(CODE.replace("from helper_of_maps import gain", "gain = lambda: 1.5"), "reference", "exec"), space)
    if name == "step":
        return dl.as_map(space["step"], (3, 4))
    return (
        space["Own"]()
        if name in ("Own", "Thinned")
        else dl.as_map(space["Net"](), (1, 3, 4) if name == "made" else (3, 4))
    )


NAMES = ("maps.py:step", "maps.py:Net", "maps.py:net", "maps.py:Own", "maps.py:made", "maps:net", "maps.py:Thinned")


@pytest.mark.parametrize("named", NAMES)
def test_finds_what_the_function_finds(run: Run, tmp_path: Path, named: str):
    status, _, err = run("analyse", named, "--data", "samples.npy", "--out", "out", "--quiet")
    assert (status, err) == (0, "")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["map"]["name"] == named
    name = named.split(":")[1]
    expected = dl.analyse(reference(name), dl.load_dataset(tmp_path / "samples.npy"))
    assert results["map"]["dim"] == 12
    assert results["outcomes"] == expected.results.outcomes
    found = load_file(tmp_path / "out" / "arrays.safetensors")["fixed_points"]
    torch.testing.assert_close(found, expected.arrays.fixed_points, rtol=1e-12, atol=1e-12)


def test_states_that_are_no_pixels(run: Run, tmp_path: Path):
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).normal(size=(6, 12)))
    arguments = ("analyse", "maps.py:step", "--data", "samples.npy", "--out", "out", "--quiet")
    status, _, err = run(*arguments)
    assert status == 2
    assert "expected 0 to 1" in err
    np.save(tmp_path / "signs.npy", np.ones((6, 12), dtype=np.int8))
    assert "expected floating point" in run(*arguments, "--any-values", "--data", "signs.npy")[2]
    assert run(*arguments, "--any-values")[0] == 0
    found = load_file(tmp_path / "out" / "arrays.safetensors")["fixed_points"]
    # The only fixed points of tanh(1.5 x) that attract, in each coordinate.
    assert found.abs().sub(0.8586).abs().max() < 1e-4
    assert (found < 0).any()


def test_files_named_like_modules_are_told_apart_by_their_code(run: Run, tmp_path: Path):
    hashes = []
    for folder, factor in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").write_text(f"def step(states):\n    return states / {factor}\n")
        out = ("--data", "samples.npy", "--out", f"out-{folder}", "--quiet")
        assert run("analyse", f"{folder}/code.py:step", *out)[0] == 0
        hashes.append(json.loads((tmp_path / f"out-{folder}" / "results.json").read_text())["map"]["sha256"])
    assert hashes[0] != hashes[1]


WRONG = {
    "no name": ("maps.py", ["maps.py: names no map", "FILE.py:NAME"]),
    "an empty name": ("maps.py:", ["maps.py:: names no map", "FILE.py:NAME"]),
    "no file": ("nothing.py:step", ["no file nothing.py"]),
    "no such name": ("maps.py:sturz", ["maps.py has no sturz", "step", "Net"]),
    "no module": ("nothing_of_that_name:step", ["no module nothing_of_that_name", "FILE.py:NAME"]),
    "no module in a package": ("torch.nothing_of_that_name:step", ["no module torch.nothing_of_that_name"]),
    "a file that fails": ("broken.py:weights", ["map broken.py", "broken.py, line 3", "RuntimeError"]),
    "a file that imports what is not there": ("lacking.py:step", ["lacking.py, line 1", "nothing_of_that_name"]),
    "a module that imports what is not there": ("lacking:step", ["lacking.py, line 1", "nothing_of_that_name"]),
    "a file that is no Python": ("crooked.py:step", ["map crooked.py: crooked.py, line 1: SyntaxError"]),
    "a function that fails": ("maps.py:failing", ["maps.py:failing", "NameError", "undefined", "line "]),
    "a function that leaves": ("maps.py:leaving", ["SystemExit", "no weights here"]),
    "a number": ("maps.py:number", ["maps.py:number", "expected a torch module or a function"]),
    "another shape": ("maps.py:of_other_shape", ["maps.py:of_other_shape", "shape", "(3, 4)"]),
    "a map that keeps no shape": ("maps.py:Shapeless", ["maps.py:Shapeless", "shape (3, 2)"]),
    "a map that leaves a tensor in float32": ("maps.py:Forgetful", ["maps.py:Forgetful", "torch.float64"]),
    "no map": ("maps.py:random", ["maps.py:random", "random"]),
    "no module name": ("./maps:net", ["no file or module ./maps", "FILE.py:NAME"]),
    "what cannot be hashed": ("maps.py:closed_over", ["maps.py:closed_over", "secret"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_a_line(run: Run, tmp_path: Path, case: str):
    named, words = WRONG[case]
    before = {path.name for path in tmp_path.iterdir()} | {"__pycache__"}
    status, out, err = run("analyse", named, "--data", "samples.npy", "--out", "out", "--quiet")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert {path.name for path in tmp_path.iterdir()} <= before


def test_cycles_and_orbits_that_diverge_are_counted_in_the_table(run: Run, tmp_path: Path):
    (tmp_path / "maps.py").write_text("def step(x):\n    return x**3 - 1.5 * x\n")
    np.save(tmp_path / "samples.npy", np.array([[0.5], [0.9], [3.0], [-4.0]]))
    status, out, err = run(
        "analyse", "maps.py:step", "--data", "samples.npy", "--any-values", "--out", "out", "--quiet"
    )
    assert (status, err) == (0, "")
    # x -> -x on the cycle of 1.5 - x^2 = 1; beyond the fixed points at sqrt(2.5) all is lost.
    rows = {" ".join(words[:-1]): words[-1] for line in out.splitlines() if (words := line.split())}
    assert (rows["stable cycles"], rows["periodic"], rows["diverged"]) == ("1", "50.0%", "50.0%")
    assert "unresolved" not in rows
