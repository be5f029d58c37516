"""Following attractors along a parameter: bifurcations known in closed form, and a ladder of trained autoencoders."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Buffer

from dynlab.attractors import BifurcationKind, Branch, Stop, basins_of_attraction, follow_fixed_point
from dynlab.attractors.following.follow import follow_attractors
from dynlab.attractors.following.followed import Change, Followed
from dynlab.datasets import Dataset
from dynlab.errors import InputError
from dynlab.files import read_tensors, write_tensors
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy, map_hash
from dynlab.maps.classical import DoubleWell, Linear, Logistic, MultiWell
from dynlab.training import TrainingSettings
from dynlab.training.ladder import train_ladder

from systems import Formula

APPEARED, SPLIT, MERGED, DISAPPEARED = Change
FOLD = 2 / math.sqrt(27)  # of the cusp, at both signs of p


class Along(Map):
    """A formula with a parameter."""

    p: Tensor

    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor], p: float, dim: int = 1) -> None:
        super().__init__(dim)
        self.formula, self.p = formula, Buffer(torch.tensor(p, dtype=torch.float64))

    def forward(self, states: Tensor) -> Tensor:
        return self.formula(states, self.p.to(states.dtype))


class Cusp(Map):
    """`y + (p + y - y^3) / 5` in the first coordinate of `y = Q^T x`, halved in the others.

    Two attractors between the folds at `p = -FOLD` and `p = FOLD`, with the middle root of `y^3 - y = p` between their
    basins; above only the right one, below only the left one.
    """

    p: Tensor
    rotation: Tensor

    def __init__(self, p: float, dim: int) -> None:
        super().__init__(dim)
        random = torch.randn(dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(dim))
        self.p, self.rotation = Buffer(torch.tensor(p, dtype=torch.float64)), Buffer(torch.linalg.qr(random).Q)

    def forward(self, states: Tensor) -> Tensor:
        y = states @ self.rotation
        first = y[:, :1]
        return torch.cat([first + 0.2 * (self.p + first - first**3), 0.5 * y[:, 1:]], dim=1) @ self.rotation.T

    def states_at(self, first: Tensor) -> Tensor:
        """States with given first coordinates."""
        others = torch.linspace(-0.5, 0.5, len(first) * (self.dim - 1), dtype=torch.float64)
        return torch.cat([first[:, None], others.reshape(len(first), -1)], dim=1) @ self.rotation.T.cpu()


def along(formula: Callable[[Tensor, Tensor], Tensor], levels: Sequence[float], device: torch.device) -> list[Map]:
    return [Along(formula, level).to(device) for level in levels]


def column(first: float, last: float, count: int = 40) -> Tensor:
    return torch.linspace(first, last, count, dtype=torch.float64)[:, None]


def words(followed: Followed) -> list[tuple[Change, int, int, int]]:
    return [(event.change, event.level, event.branch, event.other) for event in followed.events]


def cusps(levels: Sequence[float], dim: int, device: torch.device) -> list[Map]:
    return [Cusp(level, dim).to(device) for level in levels]


def in_right_basin(first: Tensor, p: float) -> Tensor:
    roots = np.sort(np.roots([1, 0, -1, -p]).real)
    return first > roots[1] if abs(p) < FOLD else torch.full((len(first),), p > 0)


@pytest.mark.parametrize("dim", [1, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_folds_end_and_begin_branches_at_their_levels(dim: int, reverse: bool, device: torch.device) -> None:
    levels = [-0.61, -0.51, -0.41, -0.35, -0.21, 0.01, 0.21, 0.31, 0.37, 0.4, 0.5]
    levels = levels[::-1] if reverse else levels
    first = torch.linspace(-1.9, 2.0, 79, dtype=torch.float64)
    maps = cusps(levels, dim, device)
    samples = Cusp(0.0, dim).states_at(first)
    followed = follow_attractors(maps, samples.to(device), levels, parameter="p")
    # Rising, the left attractor is there first, loses a part of its basin to the right one, and then the rest.
    born = min(row for row, level in enumerate(levels) if abs(level) < FOLD)
    gone = 1 + max(row for row, level in enumerate(levels) if abs(level) < FOLD)
    assert words(followed) == [(SPLIT, born, 1, 0), (MERGED, gone, 0, 1)]
    assert [event.share for event in followed.events] == [1.0, 1.0]
    assert followed.first_levels.tolist() == [0, born]
    assert followed.last_levels.tolist() == [gone - 1, len(levels) - 1]
    right = torch.stack([in_right_basin(first, level) for level in levels])
    expected = torch.stack([right, ~right] if reverse else [~right, right], dim=2).double().mean(dim=1)
    found = followed.fractions
    assert torch.equal(found.nan_to_num(0.0), expected)
    assert torch.equal(found.isnan(), expected == 0)
    # Closed forms of the fixed points: outer roots.
    for branch, sign in ((0, 1 if reverse else -1), (1, -1 if reverse else 1)):
        rows, states = followed.states_of(branch)
        for row, state in zip(rows.tolist(), states, strict=True):
            roots = np.roots([1, 0, -1, -levels[row]])
            root = sign * max(sign * value.real for value in roots if abs(value.imag) < 1e-9)
            assert torch.linalg.vector_norm(state) == pytest.approx(abs(root), abs=1e-10)
            # All on the axis of the first coordinate.
            assert (state @ Cusp(0.0, dim).rotation[:, 0]).item() == pytest.approx(root, abs=1e-10)


def test_an_attractor_that_no_sample_reaches_is_not_gone(device: torch.device) -> None:
    # All samples are right of the boundary at p = 0.1 (at -0.10) and left of it at -0.3 (0.34), where the right
    # attractor still is; at -0.5 it has met the boundary.
    levels = [0.1, -0.3, -0.5]
    followed = follow_attractors(cusps(levels, 1, device), column(0.05, 0.3).to(device), levels)
    assert torch.equal(
        followed.fractions.nan_to_num(-1.0), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    )
    assert followed.basins[0].fixed_points[:, 0].tolist() == pytest.approx(sorted_roots(0.1)[::-2], abs=1e-10)
    assert followed.basins[1].fixed_points[:, 0].tolist() == pytest.approx(sorted_roots(-0.3)[::2], abs=1e-10)
    # Without samples the state alone tells that it merged.
    assert words(followed) == [(MERGED, 2, 0, 1)]
    assert math.isnan(followed.events[0].share)


def sorted_roots(p: float) -> list[float]:
    return np.sort(np.roots([1, 0, -1, -p]).real).tolist()


def test_what_diverges_or_becomes_a_cycle_disappears(device: torch.device) -> None:
    # x^2 + c has a stable fixed point for -3/4 < c < 1/4, a cycle of two below, and nothing finite above.
    levels = [-0.9, -0.6, -0.3, 0.0, 0.2, 0.3]
    maps = along(lambda x, c: x * x + c, levels, device)
    followed = follow_attractors(maps, column(-1.6, 1.6).to(device), levels, max_steps=500)
    assert words(followed) == [(APPEARED, 1, 0, -1), (DISAPPEARED, 5, 0, -1)]
    assert all(math.isnan(event.share) for event in followed.events)
    # Samples beyond the unstable fixed point diverge.
    bounds = [(1 + math.sqrt(1 - 4 * c)) / 2 for c in levels[1:5]]
    expected = [(column(-1.6, 1.6).abs() < bound).double().mean().item() for bound in bounds]
    assert followed.fractions[1:5, 0].tolist() == expected
    assert followed.fractions[[0, 5], 0].isnan().all()
    assert [len(basins.fixed_points) for basins in followed.basins] == [0, 1, 1, 1, 1, 0]


def test_a_symmetric_pitchfork_prefers_neither_half(device: torch.device) -> None:
    levels = [0.8, 0.95, 1.05, 1.3]
    samples = column(-2.0, 2.1).to(device)
    maps = along(lambda x, gain: torch.tanh(gain * x), levels, device)
    # The state in the middle stays there, exactly: enough of it.
    rising = follow_attractors(maps, samples, levels, max_steps=1000, max_exact_steps=1000)
    assert words(rising) == [(DISAPPEARED, 2, 0, -1), (SPLIT, 2, 1, 0), (SPLIT, 2, 2, 0)]
    assert [event.share for event in rising.events[1:]] == [1.0, 1.0]
    falling = follow_attractors(maps[::-1], samples, levels[::-1], max_steps=1000, max_exact_steps=1000)
    assert words(falling) == [(MERGED, 2, 0, 2), (MERGED, 2, 1, 2), (APPEARED, 2, 2, -1)]


def test_of_a_pitchfork_that_is_not_symmetric_one_half_continues(device: torch.device) -> None:
    # The pair on the left of tanh(gain x + h) is born where gain (1 - x^2) = 1.
    def lean(gain: float) -> float:
        at = math.sqrt(1 - 1 / gain)
        return gain * at - math.atanh(at)

    h = 0.02
    levels = [0.9, 1.02, 1.06, 1.08, 1.12, 1.16, 1.2, 1.4]
    born = min(row for row, gain in enumerate(levels) if gain > 1 and lean(gain) > h)
    assert born > 2  # after the pitchfork of h = 0
    followed = follow_attractors(
        along(lambda x, gain: torch.tanh(gain * x + h), levels, device), column(-2.0, 2.0).to(device), levels
    )
    assert words(followed) == [(SPLIT, born, 1, 0)]
    assert (followed.states_of(0)[1] > 0).all()
    assert (followed.states_of(1)[1] < 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_two_that_exchange_their_stability_are_one_branch(reverse: bool, device: torch.device) -> None:
    # x + x (p - x) / 2 has the fixed points 0 and p, of which the larger one is stable.
    levels = [-0.6, -0.2, 0.2, 0.6]
    levels = levels[::-1] if reverse else levels
    followed = follow_attractors(
        along(lambda x, p: x + x * (p - x) / 2, levels, device), column(0.05, 1.0).to(device), levels
    )
    assert followed.events == []
    rows, states = followed.states_of(0)
    assert rows.tolist() == [0, 1, 2, 3]
    assert states[:, 0].tolist() == pytest.approx([max(0.0, level) for level in levels], abs=1e-10)


def test_wells_that_only_get_steeper_stay_what_they_are(device: torch.device) -> None:
    levels = [0.5, 0.7, 1.0, 1.3]
    maps = [MultiWell([1.0, 1.5], 6, step=0.2 * level).to(device) for level in levels]
    # Within the reach of them all, so that no sample diverges or changes its side.
    samples = 2.4 * torch.rand(60, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(device) - 1.2
    followed = follow_attractors(maps, samples, levels, parameter="steepness")
    assert followed.events == []
    assert followed.branch_count == 4
    sizes = torch.bincount(MultiWell([1.0, 1.5], 6).basins(samples.cpu()), minlength=4).sort(descending=True).values
    for row in range(4):
        assert followed.basins[row].sizes.tolist() == sizes.tolist()
        assert followed.branches[row].tolist() == [0, 1, 2, 3]


# Attractors at given places, each point halfway nearer to that of its interval at every step.
PLACES = {
    0.0: ([-1.0, 0.0, 1.0], [-0.5, 0.5]),
    1.0: ([-1.0, 1.0], [0.1]),
}


def piecewise(x: Tensor, p: Tensor) -> Tensor:
    places, bounds = PLACES[float(p)]
    near = x.new_tensor(places)[torch.bucketize(x, x.new_tensor(bounds))]
    return near + (x - near) / 2


@pytest.mark.parametrize(
    ("share", "change", "other"), [(0.5, MERGED, 0), (0.6, MERGED, 0), (0.61, DISAPPEARED, -1), (1.0, DISAPPEARED, -1)]
)
def test_who_leaves_in_several_directions_has_merged_only_with_a_share(
    share: float, change: Change, other: int
) -> None:
    # Of the 100 samples in the middle, 60 are left of the boundary at the next level, like the attractor itself.
    samples = torch.cat([column(-2.0, -0.6, 120), column(-0.495, 0.495, 100), column(0.6, 2.0, 110)])
    maps = along(piecewise, [0.0, 1.0], torch.device("cpu"))
    followed = follow_attractors(maps, samples, [0.0, 1.0], share=share)
    assert words(followed) == [(change, 1, 2, other)]
    found = followed.events[0].share
    assert found == 0.6 if change is MERGED else math.isnan(found)
    back = follow_attractors(maps[::-1], samples, [1.0, 0.0], share=share)
    # Its basin of 100 came from 60 and 40.
    assert words(back) == [({MERGED: SPLIT, DISAPPEARED: APPEARED}[change], 1, 2, other)]
    assert back.events[0].share == pytest.approx(found, nan_ok=True)


def test_a_chain_of_levels_finds_what_only_a_far_level_shows(device: torch.device) -> None:
    # Samples are on the right side of the boundary but at the last level; the left attractor is led back from there.
    levels = [0.3, 0.2, 0.1, 0.0, -0.3]
    followed = follow_attractors(cusps(levels, 1, device), column(0.05, 0.3).to(device), levels)
    assert followed.events == []
    assert followed.fractions[:, 1].tolist() == [0, 0, 0, 0, 1]
    assert followed.fractions[:, 0].tolist() == [1, 1, 1, 1, 0]


# A ladder of trained autoencoders

LEVELS = [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def ladder(digits_train: Dataset) -> list[DenoisingAutoencoder]:
    settings = TrainingSettings(sigma=LEVELS[0], walkback=3, epochs=200, annealing=0.985, hidden=64, seed=3)
    trained = train_ladder(digits_train.images, settings, LEVELS, epochs_per_level=5, device="cpu")
    return [level for level in trained if isinstance(level, DenoisingAutoencoder)]


@pytest.fixture(scope="module")
def followed(ladder: list[DenoisingAutoencoder], digits_test: Dataset) -> Followed:
    return follow_attractors(ladder, digits_test.images[:300], LEVELS)


def test_basins_are_those_of_each_map_alone(
    ladder: list[DenoisingAutoencoder], followed: Followed, digits_test: Dataset
) -> None:
    for system, found in zip(ladder, followed.basins, strict=True):
        alone = basins_of_attraction(system, digits_test.images[:300])
        assert found.map_sha256 == map_hash(system)
        reached = int((found.sizes > 0).sum())
        assert found.sizes[:reached].tolist() == alone.sizes.tolist()
        torch.testing.assert_close(
            found.fixed_points[found.labels], alone.fixed_points[alone.labels], rtol=0, atol=1e-8
        )
        assert (found.spectral_radii < 1).all()
        assert (found.residuals <= 1e-12).all()


def test_links_are_what_plain_iteration_gives(ladder: list[DenoisingAutoencoder], followed: Followed) -> None:
    for level, (here, there) in enumerate(pairwise(ladder)):
        branches = [row.tolist() for row in followed.branches[level : level + 2]]
        basins = followed.basins[level : level + 2]
        onward = reached_plainly(there, basins[0].fixed_points, basins[1].fixed_points)
        backward = reached_plainly(here, basins[1].fixed_points, basins[0].fixed_points)
        ended = {event.branch: event for event in followed.events if event.level == level + 1}
        for attractor, branch in enumerate(branches[0]):
            target = onward[attractor]
            if backward[target] == attractor:
                assert branches[1][target] == branch
                continue
            event = ended[branch]
            members = basins[1].labels[basins[0].labels == attractor]
            share = (members == target).double().mean().item()
            if math.isnan(share) or share >= 0.5:
                assert (event.change, event.other) == (MERGED, branches[1][target])
                assert event.share == pytest.approx(share, nan_ok=True)
            else:
                assert (event.change, event.other) == (DISAPPEARED, -1)
                assert math.isnan(event.share)
    assert len(followed.events) >= 4  # else this shows little


def reached_plainly(system: Map, states: Tensor, points: Tensor) -> list[int]:
    """Row of the fixed point that each state comes to by plain steps in float64."""
    exact = float64_copy(system)
    length = math.inf
    with torch.no_grad():
        while length > 1e-10:
            before, states = states, exact(states)
            length = float((states - before).abs().max())
    apart = torch.cdist(states, points, compute_mode="donot_use_mm_for_euclid_dist")
    assert (apart.amin(dim=1) < 1e-6).all()
    return apart.argmin(dim=1).tolist()


def test_in_reverse_beginnings_are_ends(
    ladder: list[DenoisingAutoencoder], followed: Followed, digits_test: Dataset
) -> None:
    back = follow_attractors(ladder[::-1], digits_test.images[:300], LEVELS[::-1])
    # By what they are, as branches are numbered from the other end.
    name = {
        (len(LEVELS) - 1 - level, attractor): branch
        for level, row in enumerate(back.branches)
        for attractor, branch in enumerate(row.tolist())
    }
    same = [
        {(branch, name[level, attractor]) for attractor, branch in enumerate(row.tolist())}
        for level, row in enumerate(followed.branches)
    ]
    renamed = dict(set().union(*same))
    assert len(renamed) == len(set().union(*same)) == back.branch_count
    mirrored = {
        (
            {APPEARED: DISAPPEARED, DISAPPEARED: APPEARED, SPLIT: MERGED, MERGED: SPLIT}[event.change],
            len(LEVELS) - event.level,
            renamed[event.branch],
            renamed.get(event.other, -1),
            str(event.share),
        )
        for event in followed.events
    }
    assert mirrored == {(one.change, one.level, one.branch, one.other, str(one.share)) for one in back.events}


def test_continuation_without_gaps_agrees(ladder: list[DenoisingAutoencoder], followed: Followed) -> None:
    """Fixed points followed along the straight line between the weights of two levels, an independent method."""
    agreed: dict[str, list[bool]] = {"continues": [], "ends": [], "begins": []}
    for level, (here, there) in enumerate(pairwise(ladder)):
        before, after = followed.basins[level : level + 2]
        old, new = (row.tolist() for row in followed.branches[level : level + 2])
        for attractor, branch in enumerate(old):
            if branch not in new:
                agreed["ends"].append(has_fold(here, there, before.fixed_points[attractor]))
            else:
                found = along_weights(here, there, before.fixed_points[attractor])
                partner = after.fixed_points[new.index(branch)]
                apart = torch.linalg.vector_norm(found.states[-1] - partner)
                agreed["continues"].append(found.stop is Stop.REACHED and bool(apart < 1e-6))
        for attractor, branch in enumerate(new):
            if branch not in old:
                agreed["begins"].append(has_fold(there, here, after.fixed_points[attractor]))
    assert len(agreed["continues"]) >= 10
    assert sum(agreed["continues"]) >= len(agreed["continues"]) - 1
    changes = agreed["ends"] + agreed["begins"]
    assert len(changes) >= 4
    assert sum(changes) >= 0.75 * len(changes)


def along_weights(one: DenoisingAutoencoder, other: DenoisingAutoencoder, start: Tensor) -> Branch:
    weights, other_weights = float64_copy(one).state_dict(), float64_copy(other).state_dict()

    def at(share: float) -> DenoisingAutoencoder:
        system = DenoisingAutoencoder(one.dim, one.hidden).double()
        system.load_state_dict({name: torch.lerp(value, other_weights[name], share) for name, value in weights.items()})
        return system

    return follow_fixed_point(at, start, 0.0, until=1.0, first_step=0.05, max_step=0.5, k=2)


def has_fold(one: DenoisingAutoencoder, other: DenoisingAutoencoder, start: Tensor) -> bool:
    return any(found.kind is BifurcationKind.FOLD for found in along_weights(one, other, start).bifurcations)


# What is kept, told and refused


@pytest.fixture(scope="module")
def small() -> Followed:
    """Four levels with all that a file must hold: a cycle, a branch that begins and ends, a level with nothing."""
    levels = [-0.9, -0.6, 0.0, 0.3]
    maps = along(lambda x, c: x * x + c, levels, torch.device("cpu"))
    return follow_attractors(maps, column(-1.6, 1.6), levels, parameter="c", share=0.7, max_steps=500)


def equal(one: Followed, other: Followed) -> bool:
    def tensors(followed: Followed) -> list[Tensor]:
        rows = [
            getattr(basins, name)
            for basins in followed.basins
            for name in ("fixed_points", "residuals", "labels", "samples", "cycle_labels")
        ]
        cycles = [cycle for basins in followed.basins for cycle in basins.cycles]
        rows += [part for cycle in cycles for part in (cycle.states, torch.view_as_real(cycle.multipliers))]
        multipliers = [torch.view_as_real(basins.multipliers).nan_to_num(7.0) for basins in followed.basins]
        return [followed.levels, *followed.branches, *rows, *multipliers]

    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return (
        all(left.dtype == right.dtype and torch.equal(left, right) for left, right in pairs)
        and [basins.map_sha256 for basins in one.basins] == [basins.map_sha256 for basins in other.basins]
        and str(one.events) == str(other.events)
        and (one.parameter, one.share) == (other.parameter, other.share)
    )


def test_a_file_holds_all_of_it(followed: Followed, small: Followed, tmp_path: Path) -> None:
    assert (followed.share, small.share) == (0.5, 0.7)
    for number, original in enumerate((followed, small)):
        original.save(tmp_path / f"{number}.safetensors")
        assert equal(Followed.load(tmp_path / f"{number}.safetensors"), original)


def test_a_file_holds_rows_of_different_lengths(tmp_path: Path) -> None:
    # Six leading multipliers cut a pair of the first map, which has seven therefore.
    turns = [radius * rotation_by(0.5) for radius in (0.8, 0.7, 0.6)]
    turning = torch.block_diag(torch.tensor([[0.9]], dtype=torch.float64), *turns)
    straight = torch.diag(torch.linspace(0.1, 0.7, 7, dtype=torch.float64))
    states = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    original = follow_attractors([Linear(turning), Linear(straight)], states, [1.0, -1.0])
    assert [basins.multipliers.shape[1] for basins in original.basins] == [7, 6]
    original.save(tmp_path / "new folder" / "followed.safetensors")
    assert equal(Followed.load(tmp_path / "new folder" / "followed.safetensors"), original)


def rotation_by(angle: float) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    return lambda arrays, _: arrays.update({name: change(arrays[name])})


def with_value(place: tuple[int, ...], value: float) -> Callable[[Tensor], Tensor]:
    def change(array: Tensor) -> Tensor:
        array = array.clone()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, _: arrays.pop("levels"),
        lambda arrays, _: arrays.pop("labels"),
        lambda _, metadata: metadata.update(kind="basins-of-attraction"),
        lambda _, metadata: metadata.pop("parameter"),
        lambda _, metadata: metadata.pop("share"),
        lambda _, metadata: metadata.update(share="most"),
        lambda _, metadata: metadata.update(share="1.5"),
        lambda _, metadata: metadata.update(share="nan"),
        lambda _, metadata: metadata.update(map_sha256="[]"),
        lambda _, metadata: metadata.update(map_sha256="nothing"),
        lambda _, metadata: metadata.update(map_sha256="[1, 2, 3, 4]"),
        lambda _, metadata: metadata.update(map_sha256='"abcdef"'),
        lambda _, metadata: metadata.update(map_sha256=json.dumps([*json.loads(metadata["map_sha256"]), "a"])),
        changed("residuals", lambda residuals: -1 - residuals),
        changed("multipliers", lambda multipliers: multipliers * math.nan),
        changed("leading", with_value((0,), 0)),
        changed("labels", lambda labels: torch.cat([labels, labels[:1]])),
        changed("levels", lambda levels: levels.float()),
        changed("levels", with_value((1,), 0.3)),
        changed("levels", with_value((1,), math.nan)),
        changed("levels", lambda levels: levels[:3]),
        changed("attractors", with_value((0,), 1)),
        changed("branches", with_value((1,), 1)),
        changed("branches", lambda branches: branches.int()),
        changed("fixed_points", with_value((0, 0), math.inf)),
        changed("fixed_points", lambda points: points.flatten()),
        changed("residuals", lambda residuals: residuals[:-1]),
        changed("multipliers", lambda multipliers: multipliers[..., :1]),
        changed("leading", with_value((1,), 2)),
        changed("labels", with_value((0, 0), 0)),
        changed("labels", with_value((1, 5), -2)),
        changed("samples", lambda samples: samples.flip(0)),
        changed("samples", lambda samples: samples[:-1]),
        changed("events", lambda events: events[:1]),
        changed("events", with_value((0, 0), 4)),
        changed("events", with_value((0, 0), -1)),
        changed("events", with_value((0, 0), 1)),  # split, but off none
        changed("events", with_value((0, 1), 2)),
        changed("events", with_value((0, 3), 0)),
        changed("shares", lambda shares: shares[:-1]),
        changed("shares", with_value((0,), 1.5)),
        changed("0.cycle_periods", lambda periods: periods + 1),
        lambda arrays, _: arrays.pop("0.cycle_states"),
    ],
)
def test_a_damaged_file_is_refused(
    damage: Callable[[dict[str, Tensor], dict[str, str]], None], small: Followed, tmp_path: Path
) -> None:
    path = tmp_path / "followed.safetensors"
    small.save(path)
    arrays, metadata = read_tensors(path)
    damage(arrays, metadata)
    write_tensors(path, arrays, metadata)
    with pytest.raises(InputError, match=r"followed\.safetensors: .*followed attractors"):
        Followed.load(path)


def test_a_file_that_is_not_there_or_cannot_be_written_is_told(small: Followed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Followed.load(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        small.save(tmp_path)


def test_tables() -> None:
    levels = [0.1, -0.3, -0.5]
    followed = follow_attractors(cusps(levels, 1, torch.device("cpu")), column(0.05, 0.3), levels)
    frame = followed.to_frame()
    assert frame["level"].tolist() == [0, 0, 1, 1, 2]
    assert frame["value"].tolist() == [0.1, 0.1, -0.3, -0.3, -0.5]
    assert frame["branch"].tolist() == [0, 1, 1, 0, 1]
    assert frame["attractor"].tolist() == [0, 1, 0, 1, 0]
    assert frame["basin_size"].tolist() == [40, 0, 40, 0, 40]
    assert frame["fraction"].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]
    # Wilson's interval of none and of all of 40.
    square = 1.959963984540054**2
    assert frame["low"].tolist() == pytest.approx([40 / (40 + square), 0, 40 / (40 + square), 0, 40 / (40 + square)])
    assert frame["high"].tolist() == pytest.approx([1, square / (40 + square), 1, square / (40 + square), 1])
    roots = [sorted_roots(0.1)[2], sorted_roots(0.1)[0], sorted_roots(-0.3)[0], sorted_roots(-0.3)[2]]
    assert frame["spectral_radius"].tolist()[:4] == pytest.approx([1.2 - 0.6 * root**2 for root in roots], abs=1e-9)
    events = followed.events_frame()
    assert events.drop(columns="share").to_numpy().tolist() == [[2, -0.5, "merged", 0, 1]]
    assert events["share"].isna().tolist() == [True]
    nothing = follow_attractors(cusps(levels[:2], 1, torch.device("cpu")), column(0.05, 0.3), levels[:2])
    assert list(nothing.events_frame().columns) == list(events.columns)
    assert len(nothing.events_frame()) == 0


def test_nothing_but_divergence_is_told_as_such() -> None:
    maps = along(lambda x, c: x * x + c, [0.3, 0.4], torch.device("cpu"))
    followed = follow_attractors(maps, column(-1.0, 1.0), [0.3, 0.4])
    assert followed.branch_count == 0
    assert followed.events == []
    assert followed.fractions.shape == (2, 0)
    assert len(followed.first_levels) == len(followed.last_levels) == len(followed.to_frame()) == 0


def test_a_branch_that_is_not_there_is_refused(small: Followed) -> None:
    for branch in (-1, 1):
        with pytest.raises(ValueError, match=rf"^branch is {branch}, expected from 0 to below 1$"):
            small.states_of(branch)


def test_progress_is_that_of_the_samples_of_all_levels() -> None:
    told: list[float] = []
    levels = [0.1, 0.0, -0.1]
    follow_attractors(cusps(levels, 1, torch.device("cpu")), column(-1, 1), levels, on_progress=told.append)
    assert told == sorted(told)
    assert {1 / 3, 2 / 3, 1.0} <= set(told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": [0.1]}, r"^levels is \[0.1\], expected at least two values, strictly rising or strictly falling"),
        ({"levels": [0.1, 0.1]}, r"^levels is \[0.1, 0.1\], expected at least two values"),
        ({"levels": [0.1, 0.3, 0.2], "maps": 3}, r"^levels is .* strictly rising"),
        ({"levels": [0.1, math.nan]}, r"^levels is .* strictly rising"),
        ({"levels": [0.1, math.inf]}, r"^levels is .* finite"),
        ({"maps": 3}, r"^maps holds 3 maps, expected 2, one for each level"),
        ({"maps": [DoubleWell(), Logistic(2.0)]}, r"^maps holds a map of dim 1 at 1, expected 2 as at 0"),
        ({"share": 1.1}, r"^share is 1.1, expected from 0 to 1"),
        ({"share": math.nan}, r"^share is nan, expected from 0 to 1"),
        ({"samples": [torch.zeros(2, 2)]}, r"^samples is a list, expected a tensor or an array"),
        ({"samples": torch.zeros(2, 3)}, r"^samples has shape \(2, 3\), expected \(batch, 2\)"),
        ({"samples": torch.full((1, 2), math.nan)}, r"^samples is not finite in row 0"),
        ({"tolerance": 0.0}, r"^tolerance is 0.0"),
        ({"max_steps": 0}, r"^max_steps is 0"),
        ({"max_exact_steps": -1}, r"^max_exact_steps is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"maps": 2, "samples": torch.zeros(2, 2), "levels": [0.1, 0.2]} | arguments
    if isinstance(given["maps"], int):
        given["maps"] = [DoubleWell(0.1 + 0.1 * number) for number in range(given["maps"])]
    # Without the check of shapes that tests have, as a user calls it.
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(follow_attractors)(**given)


@pytest.mark.parametrize("step", [1e-3, 5e-6, 1e-6])
def test_a_slow_attractor_that_moves_a_little_is_one_branch(step: float) -> None:
    # Of multiplier 1 - 1e-5, so that a small distance to it is a far smaller step.
    maps = [Formula(1, lambda x, c=c: x - 1e-5 * (x - c) - (x - c) ** 3) for c in (0.0, step)]
    samples = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    followed = follow_attractors(maps, samples, [0.0, step])
    assert (followed.branch_count, followed.events) == (1, [])


def test_maps_and_levels_may_come_from_iterators() -> None:
    def maps() -> Iterator[Formula]:
        yield from (Formula(1, lambda x, c=c: 0.5 * x + c) for c in (0.0, 0.1))

    followed = follow_attractors(maps(), torch.ones(2, 1), iter([0, 1]))
    assert followed.levels.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameter": 3}, "parameter is 3, expected a name"),
        ({"maps": [torch.nn.Linear(1, 1)] * 2}, "maps holds a Linear at 0, expected a Map"),
    ],
)
def test_what_is_no_name_and_no_map_is_refused(change: dict, message: str) -> None:
    arguments = {"maps": [Formula(1, lambda x: 0.5 * x)] * 2, "parameter": "level"} | change
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(follow_attractors)(
            arguments["maps"], torch.ones(2, 1), [0.0, 1.0], parameter=arguments["parameter"]
        )
