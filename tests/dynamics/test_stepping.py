from __future__ import annotations

import pytest
import torch

from dynlab.dynamics.stepping import Strides
from dynlab.maps import DenoisingAutoencoder, Map, as_map
from dynlab.maps.classical import Linear

from recorded import Recordings


@pytest.fixture(
    params=[
        "cpu",
        "recorded",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU"),
            ],
        ),
    ]
)
def device(request: pytest.FixtureRequest, recording: Recordings) -> torch.device:
    """Where strides are taken: the CPU, one that records as CUDA does, and CUDA."""
    if request.param == "recorded":
        recording.begin()
    return torch.device("cuda" if request.param == "cuda" else "cpu")


def test_strides_are_single_steps_one_after_the_other(digits_dae: DenoisingAutoencoder, device: torch.device):
    system = digits_dae.__class__(64, 128).to(device)
    system.load_state_dict(digits_dae.state_dict())
    generator = torch.Generator().manual_seed(0)
    strides = Strides(8, record_after=0)
    for rows in (100, 100, 37, 5, 1, 90):  # blocks shrink and are filled again
        states = torch.rand(rows, 64, generator=generator).to(device)
        ends, measured = strides.take(system, states, 8)
        current = states
        for step in range(8):
            with torch.no_grad():
                following = system(current)
            torch.testing.assert_close(measured[step, 0], (following - current).norm(dim=1), rtol=1e-5, atol=1e-6)
            current = following
        torch.testing.assert_close(ends, current, rtol=1e-5, atol=1e-6)


def test_twins_take_the_same_steps_and_their_distances_are_measured(device: torch.device):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, generator=generator) / 4
    system, strides = Linear(matrix).to(device), Strides(4, copies=2, record_after=0)
    for samples in (40, 17, 1):
        states = torch.rand(2 * samples, 5, generator=generator)
        ends, measured = strides.take(system, states.to(device), 4)
        assert measured.shape == (4, 2, samples)
        current = states
        for step in range(4):
            following = current @ matrix.T
            lengths = (following - current)[:samples].norm(dim=1)
            apart = (following[samples:] - following[:samples]).norm(dim=1)
            torch.testing.assert_close(measured[step].cpu(), torch.stack([lengths, apart]), rtol=1e-4, atol=1e-5)
            current = following
        torch.testing.assert_close(ends.cpu(), current, rtol=1e-4, atol=1e-5)


def test_results_of_one_stride_outlive_the_next(device: torch.device):
    system = Linear(0.5 * torch.eye(2)).to(device)
    strides = Strides(2, record_after=0)
    first, measured = strides.take(system, torch.full((3, 2), 4.0, device=device), 2)
    strides.take(system, torch.full((3, 2), 8.0, device=device), 2)
    assert first.tolist() == [[1.0, 1.0]] * 3
    torch.testing.assert_close(measured[:, 0, 0].cpu(), torch.tensor([2 * 2**0.5, 2**0.5]))


def test_fewer_steps_than_a_stride_are_taken_where_fewer_are_wanted(device: torch.device):
    ends, measured = Strides(8, record_after=0).take(
        Linear(0.5 * torch.eye(2)).to(device), torch.ones(3, 2, device=device), 3
    )
    assert ends.tolist() == [[0.125, 0.125]] * 3
    assert measured.shape == (3, 1, 3)


def test_maps_that_look_at_their_states_take_their_steps_too(device: torch.device):
    def apply(states: torch.Tensor) -> torch.Tensor:
        return states / 2 if bool((states >= 0).all()) else states

    system: Map = as_map(apply, (2,))
    ends, _ = Strides(4, record_after=0).take(system, torch.ones(3, 2, device=device), 4)
    assert ends.tolist() == [[1 / 16, 1 / 16]] * 3


def test_strides_are_recorded_once_they_are_asked_for_often(recording: Recordings):
    recording.begin()
    system, strides = Linear(0.5 * torch.eye(2)), Strides(2, record_after=3)
    made = []
    for rows in (3, 4, 3, 5, 3, 3, 8192, 8192, 8192, 8192, 8193, 8193, 8193, 8193):
        ends, _ = strides.take(system, torch.ones(rows, 2), 2)
        assert ends.tolist() == [[0.25, 0.25]] * rows
        made.append(recording.made)
    # Four rows and three are one recording; no recording has more than 8192 rows.
    assert made == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]


def test_what_cannot_be_recorded_is_never_begun(recording: Recordings):
    def apply(states: torch.Tensor) -> torch.Tensor:
        return states / 2 if bool((states >= 0).all()) else states

    recording.begin()
    strides = Strides(4, record_after=0)
    for _ in range(3):
        ends, _ = strides.take(as_map(apply, (2,)), torch.ones(3, 2), 4)
        assert ends.tolist() == [[1 / 16, 1 / 16]] * 3
    assert recording.made == 0


def test_steps_go_on_one_by_one_where_a_recording_fails(recording: Recordings):
    recording.begin(failing=True)
    system = Linear(0.5 * torch.eye(2))
    with pytest.warns(UserWarning, match="is not recorded any more"):
        ends, _ = Strides(4, record_after=0).take(system, torch.ones(3, 2), 4)
    for _ in range(2):
        again, _ = Strides(4, record_after=0).take(system, torch.ones(3, 2), 4)
        assert again.equal(ends)
    assert ends.tolist() == [[1 / 16, 1 / 16]] * 3
    assert recording.made == 1
