"""Signals are held back, and have their usual effect afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dynlab.training import EpochProgress, TrainingSettings, train
from dynlab.training.interruption import held_back

IMAGES = torch.rand(45, 16, generator=torch.Generator().manual_seed(6))
SETTINGS = TrainingSettings(sigma=0.3, epochs=6, hidden=8)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """What arrives at handlers of the program's own, which do nothing else."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: numbers.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals, fails: bool, handled: list[int]) -> None:
    before = handlers()
    try:
        with held_back() as interruption:
            assert not interruption.requested
            signal.raise_signal(number)
            assert interruption.requested
            assert handled == []
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert handled == [number]
    assert handlers() == before


def test_an_interrupt_is_a_keyboard_interrupt_afterwards() -> None:
    before, reached = handlers(), []
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        reached.append(True)
    assert reached
    assert handlers() == before


def test_without_a_signal_nothing_happens(handled: list[int]) -> None:
    before = handlers()
    with held_back() as interruption:
        assert handlers() != before
    assert not interruption.requested
    assert handled == []
    assert handlers() == before


def test_a_signal_that_is_ignored_stays_so(handled: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job in the background
    with held_back() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert not interruption.requested
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, found = handlers(), []

    def work() -> None:
        with held_back():
            found.extend(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == before


def test_training_goes_on_after_a_signal_that_is_none_to_end_at(handled: list[int], tmp_path: Path) -> None:
    told: list[int] = []

    def on_epoch(progress: EpochProgress) -> None:
        told.append(progress.epoch)
        if progress.epoch == 3:
            signal.raise_signal(signal.SIGTERM)
            assert handled == []

    trained = train(IMAGES, SETTINGS, device="cpu", checkpoint=tmp_path / "c.safetensors", on_epoch=on_epoch)
    assert handled == [signal.SIGTERM]
    assert told == [1, 2, 3, 4, 5, 6]
    for one, other in zip(trained.parameters(), train(IMAGES, SETTINGS, device="cpu").parameters(), strict=True):
        assert one.equal(other)
