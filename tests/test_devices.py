"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from dynlab.devices import check_device, resolve_device
from dynlab.errors import InputError


def test_device_at_hand_is_found(device: torch.device) -> None:
    assert resolve_device(str(device)) == device
    assert torch.zeros(1, device=resolve_device(str(device))).device.type == device.type


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_prefers_cuda(monkeypatch: pytest.MonkeyPatch, available: bool, expected: str) -> None:
    if available and not torch.cuda.is_available():
        pytest.skip("no CUDA device: run on a machine with a GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cpu:1", "meta", "mps", "cuda:x", "cuda:-1", "cuda:99", "cuda\n", "\0"]
)
def test_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_device(name)
    message = str(caught.value)
    assert message.startswith(f"device is {name!r}, expected auto, cpu or a CUDA device of this machine")
    assert message.isprintable()
    if name == "cuda:99":  # another machine may have it
        check_device(name)
    else:
        with pytest.raises(InputError) as caught:
            check_device(name)
        assert str(caught.value) == f"device is {name!r}, expected auto, cpu or a CUDA device"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here: its absence shows on a machine without")
def test_cuda_that_is_not_there_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"^device is 'cuda', expected .* of this machine \(.+\)$"):
        resolve_device("cuda")
