"""Samples that remain unresolved: their exponents against closed forms, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.dynamics import iterate
from dynlab.dynamics.answers import Statuses
from dynlab.dynamics.decision import CODES, Status
from dynlab.evaluation.restless import FOLLOWED, STEPS, Course, Growth, _course, lasting_ways, restless_of
from dynlab.maps import Map
from dynlab.maps.classical import Henon, Linear, Logistic

from systems import Formula, ghost


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_chaos_is_found_and_followed(device: torch.device):
    system = Henon().to(device)
    orbits = iterate(system, (0.2 * uniform(30, 2) - 0.1).to(device), max_steps=100, max_exact_steps=100)
    done: list[float] = []
    found, way = restless_of(system, orbits, 1e-4, done.append)
    assert found is not None
    numbers = [one.sample for one in found.samples]
    assert (len(numbers), numbers[0], numbers[-1]) == (FOLLOWED, 0, 29)
    for one in found.samples:
        assert one.course is Course.CHAOTIC
        first, second = one.exponents
        assert first is not None
        assert second is not None
        assert first == pytest.approx(0.4192, abs=0.03)  # published, for an orbit without an end
        assert first + second == pytest.approx(math.log(0.3), abs=1e-9)  # the determinant is -0.3 everywhere
    assert way.shape == (FOLLOWED, STEPS, 2)
    steps = system(way.flatten(0, 1).to(device)).cpu() - way.flatten(0, 1)
    lengths = steps.norm(dim=1).reshape(FOLLOWED, STEPS).median(dim=1).values
    assert [one.median_step_length for one in found.samples] == pytest.approx(lengths.tolist())
    states = orbits.states[numbers].to(device)
    for _ in range(200):  # in which the frame turns
        states = system(states)
    torch.testing.assert_close(way[:, 0], states.cpu())
    torch.testing.assert_close(way[:, 1:4].reshape(-1, 2), system(way[:, :3].reshape(-1, 2).to(device)).cpu())
    assert done == [0.0, 0.8, 1.0]


def test_an_orbit_that_only_needs_more_steps_settles():
    system = Linear.random([0.9999, 0.5, 0.2])
    orbits = iterate(system, uniform(5, 3) + 1, tolerance=1e-9, max_steps=50, max_exact_steps=50)
    found, way = restless_of(system, orbits, 1e-9)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.SETTLING}
    assert found.samples[0].exponents[0] == pytest.approx(math.log(0.9999), abs=1e-9)
    assert way.shape == (0, STEPS, 3)  # not drawn


def spiral(pull: float) -> Formula:
    """The angle goes round and round, and the radius to 1 from both sides."""
    cosine, sine = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    return Formula(2, lambda states: (states @ turn.to(states)) * (1 + pull * (1 - states.norm(dim=1, keepdim=True))))


def test_a_closed_curve_is_neither():
    system = spiral(0.5)
    orbits = iterate(system, uniform(4, 2) + 0.2, max_steps=100, max_exact_steps=100)
    found, _ = restless_of(system, orbits, 1e-4)
    assert found is not None
    for one in found.samples:
        assert one.course is Course.UNDECIDED
        assert one.exponents[0] == pytest.approx(0, abs=1e-9)
        assert one.exponents[1] == pytest.approx(math.log(0.5), abs=1e-9)  # the derivative of r (1 + (1 - r) / 2) at 1


def test_an_orbit_that_creeps_past_the_ghost_of_a_fold():
    system = ghost(1e-6)  # its steps are 2e-7 there: it passes 0 after some 1300
    orbits = iterate(system, -2.6e-4 * torch.ones(3, 1), tolerance=1e-12, max_steps=20, max_exact_steps=20)
    found, _ = restless_of(system, orbits, 1e-4)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.CREEPING}


@pytest.mark.parametrize("late", [0, 3_000, 100_000])
def test_an_orbit_on_its_way_to_the_ghost_of_a_fold_does_not_settle(late: int):
    def apply(states: torch.Tensor) -> torch.Tensor:
        return states + 0.1 * (states * states + 1e-10) * (1 - states)

    state = torch.full((1, 1), -0.5, dtype=torch.float64)
    for _ in range(late):  # from -0.5 it takes three million steps to its only fixed point, 1
        state = apply(state)
    orbits = iterate(Formula(1, apply), state, tolerance=1e-12, max_steps=20, max_exact_steps=20)
    found, _ = restless_of(Formula(1, apply), orbits, 1e-4)
    assert found is not None
    assert found.samples[0].course in (Course.CREEPING, Course.UNDECIDED)


@pytest.mark.parametrize("system", [Linear.random([1.002, 0.5]), spiral(0.002)], ids=["linear", "spiral"])
def test_an_orbit_that_only_leaves_an_unstable_state_is_not_chaotic(system: Map):
    orbits = iterate(system, 1e-3 * uniform(3, 2) + 1e-3, tolerance=1e-9, max_steps=20, max_exact_steps=20)
    found, way = restless_of(system, orbits, 1e-9)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.LEAVING}
    assert found.samples[0].exponents[0] == pytest.approx(0.002, rel=0.1)
    assert len(lasting_ways(found, way)) == 0


def growth(
    exponent: float, *, error: float = 0.0, later: float | None = None, length: float = 1.0, quicker: float = 0.0
):
    later = exponent if later is None else later
    return Growth(exponent, error, 2 * exponent - later, later, length, quicker)


def test_an_exponent_must_be_three_standard_errors_from_zero():
    courses = [_course(growth(exponent, error=0.1), 1e-4) for exponent in (-0.31, -0.29, 0.29, 0.31)]
    assert courses == [Course.SETTLING, Course.UNDECIDED, Course.UNDECIDED, Course.CHAOTIC]


def test_what_decides_between_courses():
    half = 2 / STEPS
    # Small differences must grow e^3 times over the second half.
    assert _course(growth(2.9 * half), 1e-4) is Course.UNDECIDED
    assert _course(growth(3.1 * half), 1e-4) is Course.CHAOTIC
    assert _course(growth(3.1 * half, quicker=1.6 * half), 1e-4) is Course.LEAVING
    assert _course(growth(3.1 * half, length=1e-5), 1e-4) is Course.CHAOTIC  # of small numbers
    assert _course(growth(2.9 * half, length=1e-5), 1e-4) is Course.CREEPING
    # Where steps grow as well, the exponent must hold over both halves; where it is below zero, its inverse.
    assert _course(growth(0.1, later=0.07, quicker=0.1), 1e-4) is Course.LEAVING
    assert _course(growth(0.1, later=0.06, quicker=0.1), 1e-4) is Course.UNDECIDED
    for rate, inverse_growth, expected in ((1e-4, 90, Course.SETTLING), (1e-4, 110, Course.UNDECIDED)):
        later = -1 / (1 / rate + inverse_growth)
        assert _course(Growth(-rate, 0.0, -rate, later, 1.0, 0.0), 1e-4) is expected
    assert _course(growth(-0.1, length=0.0), 1e-4) is Course.STANDING


@pytest.mark.parametrize("name", ["shear", "twist", "standard"])
def test_regular_motion_is_not_chaotic(name: str):
    """Small differences grow like a line: the exponent is zero, though the average over n steps is ln(n) / n."""

    def kicked(strength: float) -> Map:
        def step(states: torch.Tensor) -> torch.Tensor:
            angle, momentum = states.unbind(1)
            momentum = momentum + strength * angle.sin()
            return torch.stack([torch.remainder(angle + momentum, 2 * math.pi), momentum], dim=1)

        return Formula(2, step)

    sheared = Formula(2, lambda states: torch.stack([states[:, 0] + states[:, 1], states[:, 1]], dim=1))
    system = {"shear": sheared, "twist": kicked(0.0), "standard": kicked(0.3)}[name]
    orbits = iterate(system, 0.3 + uniform(8, 2), max_steps=50, max_exact_steps=50)
    found, _ = restless_of(system, orbits, 1e-4)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.UNDECIDED}
    assert all(one.exponents[0] is not None and one.exponents[0] > 0 for one in found.samples) or name == "standard"
    strong, _ = restless_of(
        kicked(7.0), iterate(kicked(7.0), 0.3 + uniform(8, 2), max_steps=50, max_exact_steps=50), 1e-4
    )
    assert strong is not None
    assert {one.course for one in strong.samples} == {Course.CHAOTIC}
    for one in strong.samples:
        assert one.exponents[0] == pytest.approx(math.log(3.5), abs=0.1)  # Chirikov's estimate, ln(K / 2)


def test_what_does_not_move_stands():
    system = Formula(2, lambda states: 1.0 * states)
    orbits = iterate(system, uniform(3, 2), max_steps=20, max_exact_steps=20)
    found, _ = restless_of(system, orbits, 1e-4)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.STANDING}


def test_an_orbit_that_diverges_later_is_not_chaotic():
    system = Linear.random([1.5, 0.5])
    orbits = iterate(system, uniform(3, 2) + 1, max_steps=20, max_exact_steps=20)
    found, way = restless_of(system, orbits, 1e-4)
    assert found is not None
    assert {one.course for one in found.samples} == {Course.DIVERGING}
    assert len(way) == 3
    assert len(lasting_ways(found, way)) == 0
    assert found.samples[0].exponents == found.samples[0].standard_errors == [None, None]


def test_where_all_is_resolved_nothing_is_done():
    orbits = iterate(Logistic(2.5), 0.8 * uniform(5, 1) + 0.1)
    done: list[float] = []
    found, way = restless_of(Logistic(2.5), orbits, 1e-4, done.append)
    assert found is None
    assert len(way) == 0
    assert done == []


def test_where_directions_are_annihilated_there_is_no_exponent():
    system = dl.as_map(lambda states: 0.0 * states + 1.0, (2,))
    states = torch.zeros(1, 2, dtype=torch.float64)
    orbits = replace(iterate(system, states), status=Statuses(np.array([CODES[Status.UNRESOLVED]], dtype=np.uint8)))
    found, _ = restless_of(system, orbits, 1e-4)
    assert found is not None
    assert found.samples[0].exponents == [None, None]
    assert found.samples[0].course is Course.STANDING


def test_an_analysis_keeps_them(tmp_path: Path):
    settings = dl.AnalysisSettings(max_steps=20, max_exact_steps=0, certified_attractors=0)
    analysis = dl.analyse(ghost(1e-8), torch.tensor([[-1.0], [3.0], [1.9]]), settings=settings)
    found = analysis.results.restless
    assert found is not None
    assert analysis.arrays.restless_states.shape == (len(found.samples), STEPS, 1)
    analysis.save(tmp_path)
    again = dl.Analysis.load(tmp_path)
    assert again.results.restless == found
    assert torch.equal(again.arrays.restless_states, analysis.arrays.restless_states)  # type: ignore[arg-type]
