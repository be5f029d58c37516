"""Periodic attractors: closed forms, and for long cycles plain steps and the chain rule."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dynlab as dl
from dynlab.attractors import Basins, basins_of_attraction, basins_of_orbits, merge_basins
from dynlab.attractors.copies import copies_of
from dynlab.attractors.cycles import identified
from dynlab.dynamics import Status, iterate
from dynlab.dynamics.cycles import Cycle, KnownCycles, Return
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, as_map
from dynlab.maps.classical import Henon, Hopfield, Linear, Logistic

from systems import Formula


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both_kinds() -> Formula:
    """A map of the line with a fixed point at 0, a cycle of -1 and 1, and the boundary of their basins at -0.5 and 0.5.

    `F = -G` with G odd: `G(x) = x` at 0, 0.5 and 1, where `G'` is 0.9, 1.15 and 0.4. So the multiplier of 0 is -0.9,
    that of the cycle `0.4^2`. G rises between, so that below 1 no orbit changes sides.
    """
    return Formula(1, lambda x: -(x + 0.2 * (-0.5 * x + 2.5 * x**3 - 2 * x**5)))


def test_cycles_are_identified_up_to_phase():
    def cycle(*states: float) -> Cycle:
        return Cycle(torch.tensor(states).double()[:, None], 0.0, torch.tensor([0.5 + 0j]).to(torch.complex128))

    known = [cycle(1, 2), cycle(1, 2, 3), cycle(5, 6)]
    found = [cycle(7, 8), cycle(2 + 1e-9, 1), cycle(3, 1, 2), cycle(3, 2, 1), cycle(8, 7 - 1e-9), cycle(1, 2.1)]
    numbers, others = identified(known, found)
    # Backwards, 3 2 1 is another one; with one state elsewhere too.
    assert numbers.tolist() == [3, 0, 1, 5, 3, 4]
    assert others == [found[0], found[5], found[3]]
    assert identified(known, [])[0].tolist() == identified([], [])[0].tolist() == []


@pytest.mark.parametrize("r", [3.1, 3.2, 3.4, 3.449])
def test_the_cycle_of_two_of_the_logistic_map(r: float, device: torch.device):
    system = Logistic(r)
    basins = basins_of_attraction(system, uniform(100, 1).to(device) * 0.98 + 0.01, max_steps=300)
    assert len(basins.fixed_points) == 0
    assert basins.cycle_sizes.tolist() == [100]  # in whichever phase they came
    assert basins.cycle_fractions.tolist() == [1.0]
    assert basins.unresolved == 0
    (cycle,) = basins.cycles
    assert cycle.period == 2
    assert cycle.residual <= 1e-12
    torch.testing.assert_close(cycle.states, system.two_cycle(), rtol=0.0, atol=1e-11)
    assert complex(cycle.multipliers[0]) == pytest.approx(4 + 2 * r - r * r, abs=1e-8)
    assert cycle.spectral_radius == pytest.approx(abs(4 + 2 * r - r * r), abs=1e-8)


@pytest.mark.parametrize(("r", "period"), [(3.5, 4), (3.55, 8), (3.566, 16), (3.83, 3)])
def test_longer_cycles_stand_up_to_plain_steps_and_the_chain_rule(r: float, period: int, device: torch.device):
    basins = basins_of_attraction(Logistic(r), uniform(60, 1).to(device) * 0.98 + 0.01, max_steps=300)
    (cycle,) = basins.cycles
    x, growth, visited = 0.3, 1.0, []
    for _ in range(20_000):
        x = r * x * (1 - x)
    for _ in range(period):
        visited.append(x)
        growth *= r * (1 - 2 * x)
        x = r * x * (1 - x)
    assert x == pytest.approx(visited[0], abs=1e-10)
    first = int(np.argmin(visited))
    assert cycle.states[:, 0].tolist() == pytest.approx(visited[first:] + visited[:first], abs=1e-9)
    assert complex(cycle.multipliers[0]) == pytest.approx(growth, abs=1e-6)
    assert basins.cycle_sizes.tolist() == [60]


def test_a_cycle_of_the_plane_with_a_pair_of_multipliers(device: torch.device):
    system = Henon(a=0.5)
    basins = basins_of_attraction(system, 0.5 * uniform(30, 2).to(device), max_steps=300)
    (cycle,) = basins.cycles
    expected = system.two_cycle()
    torch.testing.assert_close(cycle.states, expected[expected[:, 0].argsort()], rtol=0.0, atol=1e-11)
    # two_cycle's docstring: the multipliers solve z^2 - (4 a^2 x1 x2 + 2 b) z + b^2 = 0
    product, b = float(expected[:, 0].prod()), system.b
    roots = np.roots([1.0, -(4 * 0.5**2 * product + 2 * b), b * b])
    assert sorted(cycle.multipliers.tolist(), key=lambda z: z.imag) == pytest.approx(
        sorted(roots.tolist(), key=lambda z: z.imag), abs=1e-9
    )
    assert float(cycle.multipliers[0].imag) > 0


def test_memories_that_turn_into_their_opposites(device: torch.device):
    patterns = torch.sign(torch.randn(3, 40, generator=torch.Generator().manual_seed(0)))
    memories = Hopfield(patterns).to(device)
    # tanh is odd, so F(-x) has a cycle of m p and -m p for each pattern p, of multipliers (gain (1 - m^2))^2.
    turned = Formula(40, lambda x: memories(-x))
    starts = (patterns.repeat(10, 1) + 0.3 * torch.randn(30, 40, generator=torch.Generator().manual_seed(1))).to(device)
    starts[15:] *= -1
    basins = basins_of_attraction(turned, starts, max_steps=200)
    assert [cycle.period for cycle in basins.cycles] == [2, 2, 2]
    assert basins.cycle_sizes.tolist() == [10, 10, 10]
    for number, cycle in enumerate(basins.cycles):
        pattern = patterns[int((basins.cycle_labels == number).nonzero()[0]) % 3].double()
        reached = memories.overlap * pattern
        assert float((cycle.states.abs() - reached.abs()).abs().max()) < 1e-12
        assert min(float((cycle.states[0] - side * reached).norm()) for side in (1, -1)) < 1e-12
        torch.testing.assert_close(cycle.states[1], -cycle.states[0], rtol=0.0, atol=1e-12)
        growth = (memories.gain * (1 - memories.overlap**2)) ** 2
        assert cycle.multipliers.real[:3].tolist() == pytest.approx([growth] * 3, abs=1e-9)
        assert float(cycle.multipliers[3:].abs().max()) < 1e-9


def test_fixed_points_and_cycles_of_one_map(device: torch.device):
    states = 1.8 * uniform(200, 1).to(device) - 0.9
    basins = basins_of_attraction(both_kinds(), states, max_steps=500)
    is_inner = (states[:, 0].abs() < 0.5).cpu()
    assert basins.fixed_points.abs().max() < 1e-12
    assert basins.fixed_points.shape == (1, 1)
    assert basins.multipliers[0].real.tolist() == pytest.approx([-0.9])
    assert [cycle.states.tolist() for cycle in basins.cycles] == [[pytest.approx([-1.0]), pytest.approx([1.0])]]
    assert complex(basins.cycles[0].multipliers[0]) == pytest.approx(0.16)
    assert torch.equal(basins.labels, torch.where(is_inner, 0, -1))
    assert torch.equal(basins.cycle_labels, torch.where(is_inner, -1, 0))
    assert torch.equal(basins.attractor_labels, torch.where(is_inner, 0, 1))
    assert basins.sizes.tolist() == [int(is_inner.sum())]
    assert basins.fractions.tolist() + basins.cycle_fractions.tolist() == pytest.approx(
        [float(is_inner.double().mean()), 1 - float(is_inner.double().mean())]
    )


def test_a_slow_cycle_is_one_for_all_samples(device: torch.device):
    # Just above the period doubling at r = 3; samples that seem to have come back are still far apart.
    system = Logistic(3.0001)
    basins = basins_of_attraction(system, uniform(40, 1).to(device) * 0.98 + 0.01, max_steps=500)
    assert basins.cycle_sizes.tolist() == [40]
    torch.testing.assert_close(basins.cycles[0].states, system.two_cycle(), rtol=0.0, atol=1e-9)


def test_orbits_that_come_back_to_no_attractor(device: torch.device):
    turn = Linear(torch.tensor([[0.0, -1.0], [1.0, 0.0]])).to(device)
    orbits = iterate(turn, uniform(200, 2).float().to(device), max_steps=50)
    assert set(orbits.status) == {Status.PERIODIC}
    assert set(orbits.period.tolist()) == {4}
    assert (list(orbits.cycles), orbits.cycle.tolist()) == ([], [-1] * 200)
    basins = basins_of_orbits(turn, orbits)
    assert (basins.cycles, basins.unresolved) == ((), 200)


def test_what_a_return_means(device: torch.device):
    unstable = Logistic(3.6)  # the multiplier of its cycle of two is 4 + 2 r - r^2 = -1.76
    found, returns = KnownCycles().reached(unstable, unstable.two_cycle().to(device), 2, 0.1)
    assert (found.tolist(), returns) == ([-1, -1], [Return.OF_NO_ATTRACTOR] * 2)
    slow = Formula(1, lambda x: -(1 - 1e-10) * x)  # from side to side, and ever nearer to 0
    found, returns = KnownCycles().reached(slow, torch.tensor([[1e-3]], dtype=torch.float64, device=device), 2, 0.1)
    assert (found.tolist(), returns) == ([-1], [Return.SEEMING])
    # A cycle of two comes back after four steps as well.
    twice = Logistic(3.2)
    found, returns = KnownCycles().reached(twice, twice.two_cycle().to(device), 4, 0.1)
    assert (found.tolist(), returns) == ([-1, -1], [Return.SEEMING] * 2)
    known = KnownCycles()
    found, _ = known.reached(twice, twice.two_cycle().to(device), 2, 0.1)
    assert (found.tolist(), len(known.found)) == ([0, 0], 1)
    found, _ = known.reached(twice, twice.two_cycle().flip(0).to(device) + 1e-4, 2, 0.1)
    assert (found.tolist(), len(known.found)) == ([0, 0], 1)


def test_samples_with_inputs_of_their_own_have_cycles_of_their_own():
    rates = torch.tensor([[3.2], [3.4], [3.2], [2.5]], dtype=torch.float64)
    system = as_map(lambda x, r: r * x * (1 - x), (1,), inputs=rates)
    orbits = iterate(system, torch.full((4, 1), 0.3, dtype=torch.float64), max_steps=300)
    assert len(orbits.cycles) == len(set(orbits.cycle[:3].tolist())) == 3
    assert orbits.cycle[3] == -1
    for number, rate in zip(orbits.cycle[:3].tolist(), (3.2, 3.4, 3.2), strict=True):
        torch.testing.assert_close(orbits.cycles[number].states, Logistic(rate).two_cycle(), rtol=0.0, atol=1e-11)
    assert orbits.fixed_point.tolist() == [-1, -1, -1, 0]


def bits(basins: Basins) -> list[object]:
    tensors = [basins.fixed_points, basins.residuals, basins.multipliers, basins.labels, basins.samples]
    tensors += [tensor for cycle in basins.cycles for tensor in (cycle.states, cycle.multipliers)] + list(
        basins.members
    )
    return [
        basins.map_sha256,
        [cycle.residual for cycle in basins.cycles],
        *((tensor.shape, tensor.dtype, tensor.numpy().tobytes()) for tensor in tensors),
    ]


def test_shards_combine_into_the_basins_of_all():
    states = 1.8 * uniform(120, 1) - 0.9
    whole = basins_of_attraction(both_kinds(), states, max_steps=500)
    parts = [basins_of_attraction(both_kinds(), states[i : i + 40], first_sample=i, max_steps=500) for i in (80, 0, 40)]
    merged = merge_basins(parts)
    assert len(merged.cycles) == 1
    torch.testing.assert_close(merged.cycles[0].states, whole.cycles[0].states, rtol=0.0, atol=1e-11)
    assert torch.equal(merged.attractor_labels, whole.attractor_labels)
    assert torch.equal(merged.cycle_sizes, whole.cycle_sizes)
    expected = bits(merged)
    for order in itertools.permutations(parts):
        assert bits(merge_basins(order)) == expected
        assert bits(merge_basins([order[0], merge_basins(order[1:])])) == expected


def part_of(cycles: list[Cycle], labels: list[int], first_sample: int) -> Basins:
    found = torch.tensor(labels)
    return Basins(
        "a" * 64,
        torch.zeros(0, cycles[0].states.shape[1] if cycles else 2, dtype=torch.float64),
        torch.zeros(0, dtype=torch.float64),
        torch.zeros(0, 1, dtype=torch.complex128),
        torch.full((len(labels),), -1),
        torch.arange(first_sample, first_sample + len(labels)),
        tuple(cycles),
        tuple((found == number).nonzero()[:, 0] for number in range(len(cycles))),
    )


def cycle_of(*states: tuple[float, ...], residual: float = 0.0, multipliers: tuple[complex, ...] = (0.5,)) -> Cycle:
    return Cycle(torch.tensor(states, dtype=torch.float64), residual, torch.tensor(multipliers, dtype=torch.complex128))


@pytest.mark.parametrize("seed", range(10))
def test_random_parts_combine_alike_in_every_order(seed: int):
    rng = np.random.default_rng(seed)
    known = [
        [[0.0, 0.0], [1.0, 0.0]],
        [[0.0, 0.0], [1.0, 3e-6]],
        [[5.0, 1.0], [0.0, 1.0], [2.0, 2.0]],
        [[1e3, 0], [0, 0]],
    ]
    parts = []
    for number in range(4):
        cycles = []
        for which in rng.permutation(4)[: rng.integers(0, 5)]:
            states = np.array(known[which])
            states = np.roll(states + 1e-9 * rng.integers(0, 2, states.shape), rng.integers(0, 3), axis=0)
            states = np.where((states == 0) & (rng.random(states.shape) < 0.5), -0.0, states)
            multipliers = (0.5, -0.25, 0.1)[: rng.integers(1, 4)]
            cycles.append(cycle_of(*states.tolist(), residual=rng.choice([0.0, 1e-14]), multipliers=multipliers))
        parts.append(part_of(cycles, rng.integers(-1, len(cycles), 10).tolist(), 10 * number))
    merged = merge_basins(parts)
    assert len(merged.cycles) <= 4
    for a, b, c, d in itertools.permutations(parts):
        assert bits(merge_basins([a, b, c, d])) == bits(merged)
        assert bits(merge_basins([merge_basins([a, b]), merge_basins([c, d])])) == bits(merged)
        assert bits(merge_basins([a, merge_basins([b, merge_basins([c, d])])])) == bits(merged)


def test_cycles_merge_up_to_phase_and_the_best_copy_stays():
    a, b, c = (0.0, 0.0), (2.0, 0.0), (0.0, 3.0)
    first = part_of([cycle_of(a, b, c, residual=1e-14), cycle_of(a, b)], [0, 0, 1], 0)
    near = (2.0, 5e-7)
    second = part_of([cycle_of(c, a, near, multipliers=(0.25, 0.1)), cycle_of(a, c, b)], [0, 1, -1], 3)
    merged = merge_basins([second, first])
    # The cycle of a, b, c is not that of a, c, b, nor is that of a and b.
    assert [cycle.period for cycle in merged.cycles] == [3, 2, 3]
    assert merged.cycles[0].states.tolist() == [list(c), list(a), list(near)]
    assert merged.cycles[0].multipliers.tolist() == [0.25, 0.1]
    assert merged.cycle_labels.tolist() == [0, 0, 1, 0, 2, -1]
    assert merged.unresolved == 1


@pytest.mark.parametrize(("scale", "apart", "expected"), [(1.0, 0.9e-6, 1), (1.0, 1.1e-6, 2), (1e3, 0.9e-3, 1)])
def test_copies_are_told_by_relative_distance_whatever_the_phase(scale: float, apart: float, expected: int):
    orbit = torch.tensor([[0.0, scale], [scale / 2, 0.0], [0.0, -scale]], dtype=torch.float64)
    moved = orbit.roll(1, dims=0)
    moved[1, 0] += apart
    assert copies_of(torch.stack([orbit, moved])).max() + 1 == expected


def test_cycles_are_saved_without_loss_and_older_files_have_none(tmp_path: Path):
    system = both_kinds()
    basins = basins_of_attraction(system, 1.8 * uniform(50, 1) - 0.9, max_steps=500)
    path = tmp_path / "basins.safetensors"
    basins.save(path)
    assert bits(Basins.load(path)) == bits(basins)
    mixed = part_of(
        [cycle_of((0.0, 1.0), (2.0, 1.0), multipliers=(0.5, 0.1)), cycle_of((0.0, 1.0), (2.0, 1.5), (1.0, 1.0))],
        [1, -1, 0, 0],
        7,
    )
    mixed.save(path)
    assert bits(Basins.load(path)) == bits(mixed)
    arrays = load_file(path)
    metadata = {"kind": "basins-of-attraction", "map_sha256": "a" * 64}
    for name, wrong in (
        ("cycle_states", torch.zeros(4, 2, dtype=torch.float64)),
        ("cycle_states", torch.full((5, 2), torch.nan, dtype=torch.float64)),
        ("cycle_periods", torch.tensor([4, 1])),
        ("cycle_residuals", torch.zeros(1, dtype=torch.float64)),
        ("cycle_multipliers", torch.zeros(2, 2)),
        ("cycle_labels", torch.tensor([2, -1, 0, 0])),
        ("cycle_labels", torch.tensor([1, -1, 0])),
        ("cycle_residuals", torch.tensor([0.0, -1e-14], dtype=torch.float64)),
        ("cycle_multipliers", torch.zeros(2, 0, 2, dtype=torch.float64)),
        ("cycle_multipliers", torch.full((2, 1, 2), torch.nan, dtype=torch.float64)),
    ):
        save_file({**arrays, name: wrong}, path, metadata=metadata)
        with pytest.raises(InputError, match="cycles do not fit together"):
            Basins.load(path)
    wrapped = {  # four times 2^62 is 0 in 64 bits
        "cycle_periods": torch.full((4,), 2**62),
        "cycle_states": torch.zeros(0, 2, dtype=torch.float64),
        "cycle_residuals": torch.zeros(4, dtype=torch.float64),
        "cycle_multipliers": torch.zeros(4, 1, 2, dtype=torch.float64),
        "cycle_labels": torch.full((4,), -1),
    }
    save_file({**arrays, **wrapped}, path, metadata=metadata)
    with pytest.raises(InputError, match="cycles do not fit together"):
        Basins.load(path)
    missing = {name: array for name, array in arrays.items() if name != "cycle_periods"}
    save_file(missing, path, metadata=metadata)
    with pytest.raises(InputError, match="array cycle_periods is missing"):
        Basins.load(path)
    older = {name: array for name, array in arrays.items() if not name.startswith("cycle_")}
    save_file(older, path, metadata=metadata)
    read = Basins.load(path)
    assert (read.cycles, read.members, read.cycle_labels.tolist()) == ((), (), [-1] * 4)
    assert read.unresolved == 4


def test_maps_of_other_dtypes_lead_to_the_same_cycle(device: torch.device):
    starts = uniform(20, 1) * 0.98 + 0.01
    for dtype in (torch.float32, torch.float64):
        basins = basins_of_attraction(Logistic(3.2).to(dtype), starts.to(device, dtype), max_steps=200)
        torch.testing.assert_close(basins.cycles[0].states, Logistic(3.2).two_cycle(), rtol=0.0, atol=1e-12)


def test_an_analysis_counts_cycles_and_their_periods(tmp_path: Path, device: torch.device):
    # A step from below 0.5 to above and back: F(1 - x) = 1 - F(x), so the cycle is of x and 1 - x.
    there_and_back = DenoisingAutoencoder(1, 1)
    for name, value in (("encoder.weight", 20.0), ("encoder.bias", -10.0), ("decoder.weight", -20.0)):
        there_and_back.get_parameter(name).data.fill_(value)
    there_and_back.get_parameter("decoder.bias").data.fill_(10.0)
    analysis = dl.analyse(there_and_back.to(device), torch.tensor([[0.1], [0.9], [0.2], [0.6]]))
    assert analysis.results.statuses["periodic"] == 4
    (cycle,) = analysis.results.cycles
    assert (cycle.period, cycle.basin_size, cycle.basin_fraction) == (2, 4, 1.0)
    assert cycle.residual <= 1e-12
    last, x = 0.0, 0.1
    for _ in range(100):
        last, x = x, 1 / (1 + np.exp(20 / (1 + np.exp(10 - 20 * x)) - 10))
    slope = 1.0
    for state in (last, x):
        hidden = 1 / (1 + np.exp(10 - 20 * state))
        output = 1 / (1 + np.exp(20 * hidden - 10))
        slope *= -400 * hidden * (1 - hidden) * output * (1 - output)
    assert cycle.spectral_radius == pytest.approx(abs(slope), rel=1e-6)
    analysis.save(tmp_path)
    assert dl.Analysis.load(tmp_path).results.cycles == [cycle]


def test_damaged_fixed_points_are_refused(tmp_path: Path):
    path = tmp_path / "basins.safetensors"
    basins_of_attraction(Logistic(2.5), uniform(5, 1)).save(path)
    arrays = load_file(path)
    assert arrays["multipliers"].shape == (1, 1, 2)
    for name, wrong in (
        ("multipliers", torch.zeros(1, 0, 2, dtype=torch.float64)),
        ("multipliers", torch.full((1, 1, 2), torch.nan, dtype=torch.float64)),
        ("residuals", torch.tensor([-1e-14], dtype=torch.float64)),
    ):
        save_file({**arrays, name: wrong}, path, metadata={"kind": "basins-of-attraction", "map_sha256": "a" * 64})
        with pytest.raises(InputError, match="the arrays of these basins do not fit together"):
            Basins.load(path)
