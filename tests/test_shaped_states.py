"""Whatever takes states takes them in the shape in which they are looked at, as `iterate` gives them, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

import dynlab as dl
from dynlab.dynamics import reference_distances, states_at, transform
from dynlab.maps import Map
from dynlab.training import reconstruction_errors

SHAPE = (1, 2, 3)


def system() -> Map:
    torch.manual_seed(3)
    linear = nn.Linear(6, 6)
    nn.init.normal_(linear.weight, std=1.2)
    return dl.as_map(nn.Sequential(nn.Flatten(), linear, nn.Tanh(), nn.Unflatten(1, SHAPE)), SHAPE)


def basins() -> dl.Basins:
    return dl.basins_of_attraction(system(), STATES)


STATES = torch.randn(30, *SHAPE, generator=torch.Generator().manual_seed(0))
OF_MANY: dict[str, Callable[[Map, Tensor], object]] = {
    "spectrum": lambda s, x: dl.spectrum(s, x, k=2),
    "spectral_radius": dl.spectral_radius,
    "near_unity_counts": dl.near_unity_counts,
    "jacobian_norm": dl.jacobian_norm,
    "departure_from_normality": dl.departure_from_normality,
    "transient_amplification": dl.transient_amplification,
    "score": lambda s, x: dl.score(s, x, 0.3),
    "antisymmetric_share": dl.antisymmetric_share,
    "lyapunov_exponents": lambda s, x: dl.lyapunov_exponents(s, x, count=1, steps=20, transient=2),
    "states_at": lambda s, x: states_at(s, x, [0, 3]),
    "reference_distances": lambda s, x: reference_distances(s, x, reference_step=5, steps=8),
    "transform": lambda s, x: transform(s, x, steps=3),
    "critical_shocks": lambda s, x: dl.critical_shocks(
        s, x[:2], dl.known_attractors(s, basins().fixed_points), samples=x
    ),
    "escape_probability": lambda s, x: dl.escape_probability(s, x, (), 0.5, 3),
    "connection_graph": lambda s, x: dl.connection_graph(s, basins(), samples=x),
    "basin_plane": lambda s, x: dl.basin_plane(s, x[:3], (), resolution=3),
}
OF_MANY |= {
    "completeness": dl.completeness,
    "reconstruction_errors": lambda s, x: reconstruction_errors(s, x, sigma=0.2, walkback=2, seed=0),
    "known_attractors": lambda s, x: dl.known_attractors(s, dl.iterate(s, x[:1]).states.double()),
    "search_fixed_points": lambda s, x: dl.search_fixed_points(s, dl.iterate(s, x[:4]).states.double(), max_starts=20),
}
OF_ONE: dict[str, Callable[[Map, Tensor], object]] = {"find_fixed_point": dl.find_fixed_point, "certify": dl.certify}


def same(one: object, other: object) -> bool:
    """Whether two answers are equal, number by number."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if is_dataclass(one) and type(one) is type(other):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, nx.Graph) and isinstance(other, nx.Graph):
        return same([*one.nodes.values()], [*other.nodes.values()]) and same([*one.edges], [*other.edges])
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


@pytest.mark.parametrize("name", OF_MANY)
def test_of_many(name: str):
    assert same(OF_MANY[name](system(), STATES), OF_MANY[name](system(), STATES.flatten(1)))
    with pytest.raises(ValueError, match=r"has shape \(\d+, 2, 3\), expected \(batch, 6\) or \(batch, 1, 2, 3\)"):
        OF_MANY[name](system(), STATES[:, 0])


@pytest.mark.parametrize("name", OF_ONE)
def test_of_one(name: str):
    state = dl.iterate(system(), STATES[:1]).states[0]
    assert state.shape == SHAPE
    assert same(OF_ONE[name](system(), state), OF_ONE[name](system(), state.flatten()))
    with pytest.raises(ValueError, match=r"has shape \(2, 3\), expected \(6,\) or \(1, 2, 3\)"):
        OF_ONE[name](system(), state[0])


OF_EACH = ("spectrum", "spectral_radius", "near_unity_counts", "jacobian_norm", "departure_from_normality")
OF_EACH += ("transient_amplification", "score", "antisymmetric_share", "lyapunov_exponents", "states_at")
OF_EACH += ("reference_distances", "transform")


@pytest.mark.parametrize("name", OF_EACH)
@pytest.mark.parametrize("count", [29, 31])
def test_states_are_as_many_as_a_map_holds_inputs_for(name: str, count: int):
    held = dl.as_map(lambda states, inputs: torch.tanh(states + inputs), SHAPE, inputs=STATES)
    states = torch.zeros(count, *SHAPE)
    with pytest.raises(ValueError, match=rf"states holds {count} rows, expected 30, as the map holds inputs for$"):
        OF_MANY[name](held, states)
