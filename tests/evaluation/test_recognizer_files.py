"""What is no recognizer, or a damaged one, is refused by name; that a whole one comes back is shown in test_stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynlab.errors import InputError
from dynlab.evaluation.recognizer import Recognizer, RecognizerReport
from dynlab.evaluation.recognizer.files import load_recognizer, save_recognizer
from dynlab.files import read_tensors, write_tensors


def test_damage_is_named(tmp_path: Path) -> None:
    report = RecognizerReport("by hand", 3, 0.5, ["digits"], 1.0, 1.0, [])
    networks = [[(torch.rand(5, 4), torch.rand(5)), (torch.rand(3, 5), torch.rand(3))]]
    recognizer = Recognizer(networks, torch.tensor([1, 7]), (4,), 0.5, report)
    path = tmp_path / "recognizer.safetensors"
    save_recognizer(path, recognizer)
    states = torch.rand(6, 4)
    found = load_recognizer(path)
    assert torch.equal(found.recognize(states).scores, recognizer.recognize(states).scores)
    assert found.report == report

    tensors, metadata = read_tensors(path)
    for changed, without, message in (
        ({"kind": "basins"}, "", "holds no recognizer"),
        ({"threshold": "NaN"}, "", "not a recognizer"),
        ({"layers": "[3]"}, "", "not a recognizer"),
        ({"report": "{}"}, "", "not a recognizer"),
        ({}, "known_classes", "not a recognizer"),
    ):
        write_tensors(path, {name: one for name, one in tensors.items() if name != without}, metadata | changed)
        with pytest.raises(InputError, match=message):
            load_recognizer(path)
