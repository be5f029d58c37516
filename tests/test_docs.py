"""What docs/own_maps.md shows runs as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dynlab as dl
from dynlab import cli

TEXT = (Path(__file__).parents[1] / "docs" / "own_maps.md").read_text(encoding="utf-8")


def test_own_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    code, *programs = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    (commands,) = re.findall(r"```console\n(.*?)```", TEXT, flags=re.DOTALL)
    Path("maps.py").write_text(code)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 1, 3, padding=1), nn.Sigmoid())
    torch.save(net.state_dict(), "denoiser.pt")
    np.save("states.npy", np.random.default_rng(0).normal(size=(30, 64)))
    for command in commands.splitlines():
        monkeypatch.setattr("sys.argv", [*shlex.split(command.removeprefix("$ ")), "--quiet"])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code == 0
    denoiser, memory = (dl.Analysis.load(f"reports/{name}") for name in ("denoiser", "memory"))
    assert tuple(denoiser.results.map.state_shape) == (1, 8, 8)
    stored = torch.randn(3, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sign()
    overlaps = (memory.arrays.fixed_points.sign() @ stored.T / 64).abs().amax(dim=1)
    assert float(overlaps[0]) == 1.0  # the most samples find a stored pattern, or its negative
    names: dict[str, Any] = {"torch": torch, "dl": dl}
    for program in programs:
        exec(compile(program, "own_maps.md", "exec"), names)
    assert names["recalled"].fixed_points  # of a map that names its layers and nothing else
    assert Path("report.html").stat().st_size > 1_000_000
    restless = names["henon"].results.restless
    assert restless.samples[0].exponents[0] == pytest.approx(0.42, abs=0.03)  # as the text says
    assert "are chaotic: small differences grow" in Path("henon.html").read_text(encoding="utf-8")
