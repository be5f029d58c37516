"""The connection graph: attractors, and the saddles on the boundaries of their basins that join them.

Basins touch along boundaries, and a boundary mostly has a saddle with one unstable direction, whose unstable manifold
ends in an attractor on either side. The graph has an edge for each such saddle. It is found by edge tracking
(`edge_tracking`) between attractors that are near neighbours, and between samples that are while their attractors
differ. What is not found is not shown to be missing: `index_sum` tells how complete the set of fixed points may be
(`dynlab.dynamics.completeness`), and a search (`search`, beside this file) makes it more so.

Source: Battelino et al., Multiple coexisting attractors, basin boundaries and basic sets, Physica D 32, 1988.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.connections.edge_tracking import CLOSING, Saddles, Track, Tracked, track_edges
from dynlab.attractors.connections.saddles import Saddle, examine_saddles
from dynlab.attractors.connections.search import search_fixed_points
from dynlab.attractors.reached import known_attractors
from dynlab.dynamics import completeness, energy, spectral_radius
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.errors import check_count
from dynlab.maps import DenoisingAutoencoder, Map, flat_states, float64_copy

if TYPE_CHECKING:
    import networkx as nx

_TOGETHER = 256  # pairs tracked at once
_BLOCK = 1024  # rows of distances at once
_MORE_NEIGHBOURS = 4  # tried one after the other for attractors that have no edge


def connection_graph(
    system: Map,
    basins: Basins,
    *,
    neighbours: int = 1,
    samples: Float[Tensor, " samples *state"] | None = None,
    search_starts: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> nx.MultiGraph:
    """Join attractors by the saddles between their basins.

    Args:
        system: The map.
        basins: Its attractors, and who reaches them.
        neighbours: How many nearest attractors of each are tracked, at least 1. An attractor that has no edge
            then is tracked towards up to four more.
        samples: The samples of `basins`, as `basins_of_attraction` took them: if they are given, each whose nearest
            neighbour has another attractor suggests a pair as well. As many pairs are tracked as there are attractors,
            those that are suggested most often.
        search_starts: From how many starts at most to look for further fixed points between those that tracking found,
            as `search_fixed_points` does; saddles of every index come to light so, and attractors without samples.
        on_progress: Called with the share of pairs that are done, from 0 to 1.

    Returns:
        A `networkx.MultiGraph`. Nodes are numbers: attractors by their rows in `basins`, and after them those that
        samples did not reach. They have `state` (Float64[Tensor, " dim"]), `basin_size`, `basin_fraction` and
        `spectral_radius`. Edges have `kind` ("saddle"), `saddle` (a number), `state`, `unstable_multiplier` (above 1),
        `residual`, `distance_to_source` and `distance_to_target`, of which the source is the end with the smaller
        number; for a tied sigmoid autoencoder also `barrier_from_source` and `barrier_from_target`, energies from the
        ends up to the saddle. The graph itself has `map_sha256`, `tracked` (a `Tracked` for each pair), `other_saddles`
        (a `Saddle` for each that is no edge), `index_sum`, the sum of the signs of `det(I - J)` over all of them, and
        `index_undecided`, how many of the signs are too near to call.

    Raises:
        InputError: If the basins are those of another map.
        ValueError: If `neighbours` is below 1 or `search_starts` below 0, or the samples do not fit the map or the
            basins.
    """
    basins.check_map(system)
    check_count("neighbours", neighbours, 1)
    check_count("search_starts", search_starts, 0)
    if samples is not None:
        samples = flat_states(system, samples, parameter="samples")
        if len(samples) != len(basins.labels):
            raise ValueError(f"samples has {len(samples)} rows, expected {len(basins.labels)}, as basins has labels")
    exact = float64_copy(system)
    device = home_of(exact, basins.fixed_points).device
    known, saddles = KnownFixedPoints(device, system.dim), Saddles(device, system.dim)
    for point in known_attractors(system, basins.fixed_points):
        known.add(point)
    tracked: list[Tracked] = []

    def track(pairs: Int64[Tensor, "pairs 2"], inside: Tensor, outside: Tensor, begun: float, ended: float) -> None:
        for begin in range(0, len(pairs), _TOGETHER):
            rows = torch.arange(begin, min(begin + _TOGETHER, len(pairs)))
            near, far = inside[rows].to(device, torch.float64), outside[rows].to(device, torch.float64)
            tracked.extend(track_edges(exact, near, far, pairs[rows], known, saddles))
            if on_progress:
                on_progress(begun + (ended - begun) * (int(rows[-1]) + 1) / len(pairs))

    states = basins.fixed_points
    nearest = _nearest(states, neighbours + _MORE_NEIGHBOURS)
    first = nearest[:, :neighbours]
    pairs = _once(torch.stack([torch.arange(len(states)).repeat_interleave(first.shape[1]), first.flatten()], dim=1))
    track(pairs, states[pairs[:, 0]], states[pairs[:, 1]], 0.0, 0.6)
    if samples is not None:
        rows = _suggested(samples, basins.labels, len(states))
        track(basins.labels[rows], samples[rows[:, 0]], samples[rows[:, 1]], 0.6, 0.8)
    columns = range(neighbours, nearest.shape[1])
    for column in columns:
        joined = {end for saddle in saddles.found if saddle.is_edge for end in saddle.ends}
        alone = torch.tensor([index for index in range(len(states)) if index not in joined], dtype=torch.int64)
        pairs = torch.stack([alone, nearest[alone, column]], dim=1)
        done, share = column - neighbours, 0.15 / len(columns)
        track(pairs, states[pairs[:, 0]], states[pairs[:, 1]], 0.8 + done * share, 0.8 + (done + 1) * share)
    # From the other side the segment between the attractors meets another boundary, or another part of it.
    left = [number for number, one in enumerate(tracked) if one.track not in CLOSING]
    back = torch.tensor([(tracked[number].target, tracked[number].source) for number in left], dtype=torch.int64)
    back = back.reshape(-1, 2)
    track(back, states[back[:, 0]], states[back[:, 1]], 0.95, 1.0)
    for number, one in zip(left, tracked[len(tracked) - len(left) :], strict=True):
        tracked[number] = one if one.track in CLOSING else tracked[number]
    del tracked[len(tracked) - len(left) :]
    if search_starts:
        _search(system, exact, known, saddles, search_starts)
    graph = _graph(system, basins, known, saddles.found, tracked)
    if on_progress:
        on_progress(1.0)
    return graph


def track_counts(graph: nx.MultiGraph) -> dict[str, int]:
    """How many pairs ended in which way, by the values of `Track`."""
    return {str(track): sum(one.track is track for one in graph.graph["tracked"]) for track in Track}


def _search(system: Map, exact: Map, known: KnownFixedPoints, saddles: Saddles, starts: int) -> None:
    """Add fixed points that a search finds between the known attractors and saddles."""
    states = [point.state for point in known.points] + [saddle.state for saddle in saddles.found]
    if not states:
        return
    found = search_fixed_points(system, torch.stack(states), max_starts=starts)
    is_new = torch.arange(len(found.states)) >= found.given
    for point in known_attractors(system, found.states[is_new & (found.unstable == 0)]):
        known.add(point)
    chosen = is_new & (found.unstable > 0)
    unstable, residuals = found.states[chosen].to(known.device), found.residuals[chosen].to(known.device)
    for saddle in examine_saddles(exact, unstable, residuals, known):
        if saddle is not None:
            saddles.add(saddle)


def _graph(
    system: Map, basins: Basins, known: KnownFixedPoints, saddles: list[Saddle], tracked: list[Tracked]
) -> nx.MultiGraph:
    import networkx as nx

    states = [point.state for point in known.points]
    everything = states + [saddle.state for saddle in saddles]
    others = states[len(basins.fixed_points) :]
    radii = basins.spectral_radii.tolist()
    radii += spectral_radius(system, torch.stack(others)).tolist() if others else []
    signs = completeness(system, torch.stack(everything)) if everything else None
    sizes, fractions = basins.sizes.tolist(), basins.fractions.tolist()
    graph = nx.MultiGraph(
        map_sha256=basins.map_sha256,
        tracked=tracked,
        other_saddles=[saddle for saddle in saddles if not saddle.is_edge],
        index_sum=0 if signs is None else signs.index_sum,
        index_undecided=0 if signs is None else signs.undecided,
    )
    for node, state in enumerate(states):
        was_reached = node < len(sizes)
        graph.add_node(
            node,
            state=state,
            basin_size=sizes[node] if was_reached else 0,
            basin_fraction=fractions[node] if was_reached else 0.0,
            spectral_radius=radii[node],
        )
    heights = _heights(system, everything)
    edges = [index for index, saddle in enumerate(saddles) if saddle.is_edge]
    for number, index in enumerate(edges):
        saddle = saddles[index]
        attributes: dict[str, Any] = {
            "kind": "saddle",
            "saddle": number,
            "state": saddle.state,
            "unstable_multiplier": float(saddle.unstable_multipliers[0].real),
            "residual": saddle.residual,
        }
        for side, end in zip(("source", "target"), saddle.ends, strict=True):
            attributes[f"distance_to_{side}"] = float(torch.linalg.vector_norm(saddle.state - states[end]))
            if heights is not None:
                attributes[f"barrier_from_{side}"] = heights[len(states) + index] - heights[end]
        graph.add_edge(*saddle.ends, **attributes)
    return graph


def _heights(system: Map, states: list[Tensor]) -> list[float] | None:
    """Energies of states, None where the map has none that falls along orbits."""
    if not states or not isinstance(system, DenoisingAutoencoder) or not system.tied:
        return None
    if {system.hidden_nonlinearity, system.output_nonlinearity} != {"sigmoid"}:
        return None
    return energy(system, torch.stack(states)).tolist()


def _nearest(states: Float64[Tensor, "states dim"], count: int) -> Int64[Tensor, "states nearest"]:
    """Indices of the nearest other states of each, the nearest first."""
    count = min(count, max(len(states) - 1, 0))
    parts = [torch.zeros(0, count, dtype=torch.int64)]
    for rows in torch.arange(len(states)).split(_BLOCK):
        apart = torch.cdist(states[rows], states)
        apart[torch.arange(len(rows)), rows] = torch.inf
        parts.append(apart.topk(count, dim=1, largest=False).indices)
    return torch.cat(parts)


def _once(pairs: Int64[Tensor, "pairs 2"]) -> Int64[Tensor, "kept 2"]:
    """Pairs without those that came before, the other way round among them."""
    seen = dict[tuple[int, int], tuple[int, int]]()
    for source, target in pairs.tolist():
        seen.setdefault((min(source, target), max(source, target)), (source, target))
    return torch.tensor(list(seen.values()), dtype=torch.int64).reshape(-1, 2)


def _suggested(
    samples: Float[Tensor, "samples dim"], labels: Int64[Tensor, " samples"], limit: int
) -> Int64[Tensor, "kept 2"]:
    """Neighbouring samples whose attractors differ, one pair of samples for each of the `limit` likeliest pairs."""
    # Of equal samples one: the nearest neighbour of the others would be their own copy.
    rows = (labels >= 0).nonzero()[:, 0]
    states = samples[rows].double().cpu()
    firsts_of = dict[bytes, int]()
    for place, state in enumerate(states.numpy()):
        firsts_of.setdefault(state.tobytes(), place)
    places = torch.tensor(list(firsts_of.values()), dtype=torch.int64)
    rows, states = rows[places], states[places]
    nearest = rows[_nearest(states, 1)[:, 0]] if len(rows) > 1 else rows
    firsts, counts = dict[frozenset[int], tuple[int, int]](), Counter[frozenset[int]]()
    for row, other in zip(rows.tolist(), nearest.tolist(), strict=True):
        ends = frozenset((int(labels[row]), int(labels[other])))
        if len(ends) == 2:
            firsts.setdefault(ends, (row, other))
            counts[ends] += 1
    chosen = [firsts[ends] for ends, _ in counts.most_common(limit)]
    return torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2)
