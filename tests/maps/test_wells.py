"""Maps with many wells, and the delayed logistic map: what they say of themselves against differences and iteration."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from dynlab.dynamics import iterate
from dynlab.maps import Map, float64_copy, map_hash
from dynlab.maps.classical import DelayedLogistic, DoubleWell, MultiWell

from systems import jacobians


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def many_wells() -> list[MultiWell]:
    return [
        MultiWell([1.0], 2, seed=None),
        MultiWell([1.0, 0.7], 2, step=0.5),
        MultiWell([1.0, 1.3, 0.6], 50, curvatures=torch.linspace(0.2, 3, 47).tolist()),
        MultiWell([0.5, 1.0, 0.8, 1.5, 2.0], 50, step=0.25, seed=3),
    ]


def everything() -> list[Map]:
    return [*many_wells(), *map(DelayedLogistic, (-0.7, 0.0, 0.5, 1.0, 1.9, 2.0, 2.2))]


def name(system: Map) -> str:
    return str(system).splitlines()[0]


@pytest.mark.parametrize("system", everything(), ids=name)
def test_fixed_points_are_fixed_and_have_the_multipliers_stated(system, device: torch.device):
    system = system.to(device)
    points, stated = system.fixed_points().to(device), system.multipliers().cpu()
    assert points.dtype == torch.float64
    assert (system(points) - points).abs().max() < 1e-14
    found = torch.linalg.eigvals(jacobians(system, points)).cpu()
    assert stated.shape == found.shape
    assert (stated.abs().diff(dim=1) <= 1e-15).all()
    for ours, theirs in zip(stated, found, strict=True):
        distances = (ours[:, None] - theirs[None]).abs()
        assert distances.min(dim=0).values.max() < 1e-7
        assert distances.min(dim=1).values.max() < 1e-7


@pytest.mark.parametrize("system", everything(), ids=name)
def test_no_two_jacobians_differ_by_more_than_the_lipschitz_constant_allows(system: Map, device: torch.device):
    system = system.to(device)
    center, radius = normal(system.dim).to(device), 0.8
    directions = torch.nn.functional.normalize(normal(200, system.dim, seed=1).to(device), dim=1)
    states = center + radius * directions * torch.rand(200, 1, dtype=torch.float64, device=device)
    constant = system.jacobian_lipschitz(center, radius)
    jumps = torch.linalg.matrix_norm(system.jacobian(states[:100]) - system.jacobian(states[100:]), ord=2)
    assert constant is not None
    assert (jumps <= constant * (states[:100] - states[100:]).norm(dim=1) * (1 + 1e-12)).all()


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_the_map_descends_the_gradient_of_the_potential(system: MultiWell, device: torch.device):
    system = system.to(device)
    states = normal(5, system.dim, seed=2).to(device).requires_grad_()
    (gradient,) = torch.autograd.grad(system.potential(states).sum(), states)
    torch.testing.assert_close(system(states), states - system.step * gradient, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_potential_of_wells_and_saddles(system: MultiWell, device: torch.device):
    system = system.to(device)
    zero_wells = system.potential(system.wells())
    assert zero_wells.abs().max() < 1e-28
    for saddle, barrier in zip(system.saddles(), system.potential(system.saddles()), strict=True):
        across = system.coordinates(saddle[None])[0, : len(system.scales)].abs().argmin()
        torch.testing.assert_close(barrier, system.scales[across] / 4, rtol=1e-13, atol=0)


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_fixed_points_are_counted_and_ordered_by_their_unstable_directions(system: MultiWell):
    m = len(system.scales)
    points, unstable = system.fixed_points(), system.unstable_directions()
    assert len(points) == 3**m
    assert torch.equal(unstable, (system.multipliers().abs() > 1).sum(1))
    assert unstable.tolist() == sorted(unstable.tolist())
    assert torch.bincount(unstable).tolist() == [math.comb(m, k) * 2 ** (m - k) for k in range(m + 1)]
    assert torch.equal(system.wells(), points[: 2**m])
    assert torch.equal(system.saddles(), points[2**m :][: m * 2 ** (m - 1)])
    apart = (points[:, None] - points).norm(dim=2)
    assert float(apart.fill_diagonal_(math.inf).min()) == pytest.approx(1)


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_the_indices_add_up_to_one(system: MultiWell):
    identity = torch.eye(system.dim, dtype=torch.float64)
    signs = [torch.linalg.det(identity - jacobian).sign() for jacobian in jacobians(system, system.fixed_points())]
    assert sum(signs) == 1


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_basins_are_where_iteration_ends(system: MultiWell, device: torch.device):
    system = system.to(device)
    inside = 2 * torch.rand(200, system.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) - 1
    y = inside.to(device)
    y[:, : len(system.scales)] *= system.reach
    states = system.states_at(y)
    labels = system.basins(states)
    end = states
    for _ in range(1500):
        end = system(end)
    assert labels.dtype == torch.int64
    assert labels.max() < 2 ** len(system.scales)
    assert torch.allclose(end, system.fixed_points()[labels], atol=1e-9)
    assert len(labels.unique()) > 1
    assert system.basins(system.wells()).tolist() == list(range(len(system.wells())))
    y[:, 0] = 1.001 * system.reach[0]
    assert (system.basins(system.states_at(y)) == -1).all()
    # Beyond its reach a coordinate changes its sign in the first step.
    stepped = system.coordinates(system(system.states_at(y)))
    assert (stepped[:, 0] < 0).all()


def test_basins_of_states_on_the_boundary_are_saddles():
    system = MultiWell([1.0, 0.5], 3, seed=None)
    states = torch.tensor([[0.0, 0.3, 5.0], [0.4, 0.0, -1.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    labels = system.basins(states)
    end = states
    for _ in range(1500):
        end = system(end)
    assert torch.allclose(end, system.fixed_points()[labels], atol=1e-12)
    assert system.unstable_directions()[labels].tolist() == [1, 1, 2]


@pytest.mark.parametrize("system", many_wells(), ids=name)
def test_saddles_join_the_wells_where_orbits_from_them_end(system: MultiWell, device: torch.device):
    system = system.to(device)
    saddles, connections, wells = system.saddles(), system.connections(), system.wells()
    values, vectors = torch.linalg.eigh(system.jacobian(saddles))
    assert ((values > 1).sum(1) == 1).all()
    unstable = 1e-4 * vectors[:, :, -1]
    ends = torch.cat([saddles + unstable, saddles - unstable])
    for _ in range(1500):
        ends = system(ends)
    nearest, labels = (ends[:, None] - wells).norm(dim=2).min(dim=1)
    assert nearest.max() < 1e-9
    assert torch.equal(labels.unflatten(0, (2, -1)).T.sort(dim=1).values, connections)
    torch.testing.assert_close(
        (saddles[:, None] - wells[connections]).norm(dim=2), torch.ones_like(nearest).view(-1, 2)
    )
    assert len({tuple(pair) for pair in connections.tolist()}) == len(saddles)


def test_one_double_well_in_the_plane_is_the_double_well(device: torch.device):
    ours, theirs = MultiWell([1.0], 2, step=0.3, seed=None).to(device), DoubleWell(0.3)
    states = 2 * normal(100, 2).to(device)
    torch.testing.assert_close(ours(states), theirs(states), rtol=1e-14, atol=1e-14)
    assert torch.equal(ours.basins(states), theirs.basins(states))
    assert torch.equal(ours.fixed_points().cpu(), theirs.fixed_points())
    assert float(ours.reach[0]) == theirs.reach


def test_iteration_finds_the_wells(device: torch.device):
    system = MultiWell([1.0, 1.3, 0.6], 50).to(device)
    states = normal(64, 50, seed=9).to(device)
    orbits = iterate(system, states)
    assert torch.allclose(orbits.states.double(), system.wells()[system.basins(states)], atol=1e-5)


def test_states_keep_their_dtype_and_copies_are_the_same_map(device: torch.device):
    system = MultiWell([1.0, 2.0], 6).to(device)
    states = normal(4, 6).to(device)
    assert system(states.float()).dtype == torch.float32
    torch.testing.assert_close(system(states.float()).double(), system(states), rtol=1e-5, atol=1e-5)
    assert torch.equal(float64_copy(system)(states), system(states))


def test_seeds_make_the_map():
    first = MultiWell([1.0], 8, seed=1)
    assert map_hash(first) == map_hash(MultiWell([1.0], 8, seed=1))
    different = [
        MultiWell([1.0], 8, seed=2),
        MultiWell([1.1], 8, seed=1),
        MultiWell([1.0], 8, step=0.2, seed=1),
        MultiWell([1.0], 8, curvatures=[1.0] * 6 + [2.0], seed=1),
    ]
    assert len({map_hash(system) for system in [first, *different]}) == 5
    identity = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(first.rotation @ first.rotation.T, identity, rtol=0, atol=1e-14)
    assert torch.equal(MultiWell([1.0], 8, seed=None).rotation, identity)
    assert (first.rotation.abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": [], "dim": 3}, r"scales has 0 numbers, expected 1 to 3"),
        ({"scales": [1.0] * 4, "dim": 3}, r"scales has 4 numbers, expected 1 to 3"),
        ({"scales": [1.0, -1.0], "dim": 3}, r"scales\[1\] is -1.0, expected a finite number above 0"),
        ({"scales": [1.0], "dim": 0}, r"dim is 0"),
        ({"scales": [1.0], "dim": 3, "step": 0.0}, r"step is 0.0"),
        ({"scales": [1.0, 2.0], "dim": 3, "step": 0.3}, r"step is 0.3, expected at most 0.25, .* scales\[1\] is 0.5"),
        ({"scales": [1.0], "dim": 2, "curvatures": [11.0]}, r"step is 0.1, expected at most 0.0909091, .* curvatures"),
        ({"scales": [1.0], "dim": 3, "curvatures": [1.0]}, r"curvatures has 1 numbers, expected 2"),
        ({"scales": [1.0], "dim": 2, "curvatures": [math.nan]}, r"curvatures\[0\] is nan"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        MultiWell(**arguments)


def test_delayed_logistic_crosses_the_unit_circle_at_two(device: torch.device):
    pair = DelayedLogistic(2.0).multipliers()[1]
    assert pair[0] == pytest.approx(cmath.exp(1j * math.pi / 3))
    assert pair[1] == pytest.approx(cmath.exp(-1j * math.pi / 3))
    start = torch.tensor([[0.5, 0.45]], dtype=torch.float64, device=device)
    for r, attracts in ((1.9, True), (2.1, False)):
        system, state = DelayedLogistic(r), start
        for _ in range(2000):
            state = system(state)
        distance = float((state.cpu() - system.fixed_points()[1]).norm())
        assert (distance < 1e-9) == attracts
        assert distance < 1


@pytest.mark.parametrize("r", [math.nan, math.inf])
def test_delayed_logistic_refuses_what_is_not_finite(r: float):
    with pytest.raises(ValueError, match="r is"):
        DelayedLogistic(r)
