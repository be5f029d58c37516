"""Which work may be recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dynlab.recordings import can_record, reads_device, record

from other_device import emulated_device

STATES = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
WORK: list[tuple[Callable[[torch.Tensor], torch.Tensor], bool]] = [
    (lambda states: torch.tanh(states @ states.T).sum(dim=1), False),
    (lambda states: torch.where(states > 0.5, states, 0.0).clamp_(max=1).to(torch.float64), False),
    (lambda states: states[torch.zeros(3, dtype=torch.int64, device=states.device)].mean(), False),
    (lambda states: torch.nn.functional.conv1d(states[:, None], states[:1, None]), False),
    (lambda states: states / 2 if bool((states >= 0).all()) else states, True),
    (lambda states: states * float(states.max()), True),
    (lambda states: states[states > 0.5], True),
    (lambda states: states.index_put_((states > 2,), states[0, 0]), True),
    (lambda states: torch.nonzero(states), True),
    (lambda states: states[:, torch.tensor([1, 0])], True),
    (lambda states: torch.unique(states), True),
    (lambda states: states.cpu(), True),
    (lambda states: states + torch.ones(3, 2).to(states.device), True),
    (lambda states: states + torch.tensor([1.0, 2.0], device=states.device), True),
    (lambda states: torch.linalg.solve(states[:2], states[:2]), True),
]
emulated_device()


@pytest.mark.parametrize(("work", "reads"), WORK)
def test_work_that_reads_the_device_or_copies_to_it_is_told(
    work: Callable[[torch.Tensor], torch.Tensor], reads: bool
) -> None:
    states = STATES.to(emulated_device())
    assert reads_device(lambda: work(states)) is reads


def test_a_cpu_does_not_record() -> None:
    assert not can_record(torch.device("cpu"))
    assert can_record(torch.device("cuda", 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU")
@pytest.mark.parametrize("work", [work for work, reads in WORK if not reads])
def test_what_does_not_read_is_recorded(work: Callable[[torch.Tensor], torch.Tensor]) -> None:
    cuda = torch.device("cuda")
    states, other = STATES.to(cuda), torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    found = record(lambda: work(states), cuda)
    assert found is not None
    replay, result = found
    states.copy_(other)
    replay()
    torch.testing.assert_close(result.cpu(), work(other), rtol=1e-5, atol=1e-6)


def test_compiled_code_stays_compiled() -> None:
    compiled = torch.compile(lambda states: torch.tanh(2 * states), backend="eager", fullgraph=True)
    expected = compiled(STATES)
    assert not reads_device(lambda: compiled(STATES))
    assert torch.equal(compiled(STATES), expected)  # or dynamo would refuse


def test_what_cannot_be_looked_into_may_read() -> None:
    def work() -> None:
        raise NotImplementedError

    assert reads_device(work)
