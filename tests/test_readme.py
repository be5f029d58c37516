"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from dynlab import cli
from dynlab.datasets import Dataset

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    return [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("python")
    exec(compile(snippet, "README.md", "exec"), {})
    assert re.match(r"\d+ attractors; the largest basin holds \d", capsys.readouterr().out)
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


def test_commands_on_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_test: Dataset, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    # The same commands, made short by options that come later and so win; separability has tests of its own.
    shorter = {"data": [], "compare": [], "train": ["--epochs", "1", "--limit", "2000"], "analyse": ["--limit", "20"]}
    shorter["ladder"] = ["--sigmas", "0.2,0.3", "--epochs", "2", "--epochs-per-level", "1", "--limit", "20"]
    shorter["run"] = ["--dry-run"]  # it has tests of its own
    shown = [command.replace("--train-data mnist/train", "") for command in commands() if command.startswith("dynlab ")]
    assert len(shown) == 9
    for command in shown:
        program, name, *arguments = shlex.split(command)
        monkeypatch.setattr("sys.argv", [program, name, *arguments, *shorter[name]])
        threads = torch.get_num_threads()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        torch.set_num_threads(threads)
        assert exit_.value.code == 0
    for page in ("dae/index.html", "dae-10000/index.html", "both.html", "ladder/index.html"):
        assert (tmp_path / "reports" / page).is_file()


def test_ci_calls_the_test_command():
    (test_command,) = [command for command in commands() if command.endswith("tox -e tests")]
    assert test_command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_files_it_links_to_exist():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
