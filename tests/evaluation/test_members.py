"""Basins in numbers and their typical members, against counts and distances written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.attractors import basin_statistics
from dynlab.attractors.basins import Basins
from dynlab.datasets import Dataset, dataset_of
from dynlab.evaluation.attractors import attractors_of
from dynlab.evaluation.members import NAMED_STARTS, PICTURED, typical_members
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps.classical import MultiWell

SETTINGS = AnalysisSettings(linearized_attractors=0, certified_attractors=0, plane_resolution=10)


def wells() -> MultiWell:
    return MultiWell((1.0, 0.7), 3).double()


def samples_of(system: MultiWell, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, 4, (count,), generator=generator)
    return (system.wells()[chosen] + 0.3 * torch.randn(count, system.dim, generator=generator).double()).float()


def labelled(system: MultiWell, count: int = 60) -> Dataset:
    classes = torch.arange(count) % 3
    return dataset_of(samples_of(system, count), classes, name="wells")


def test_an_analysis_counts_the_members_of_each_basin(device: torch.device) -> None:
    system = wells()
    data = labelled(system)
    found = dl.analyse(system.to(device), data, settings=SETTINGS)
    arrays, starts = found.arrays, data.images.double().numpy()
    assert len(found.results.attractors) == 4
    assert data.labels is not None
    for attractor in found.results.attractors:
        members = np.flatnonzero(arrays.labels.numpy() == attractor.id)
        known, counts = np.unique(data.labels.numpy()[members], return_counts=True)
        assert attractor.class_counts == dict(zip(known.tolist(), counts.tolist(), strict=True))
        assert attractor.purity == pytest.approx(counts.max() / len(members), rel=1e-12)
        assert attractor.majority_class == known[counts.argmax()]
        steps = arrays.steps.numpy()[members]
        assert attractor.median_steps == pytest.approx(np.median(steps))
        assert attractor.slow_steps == pytest.approx(np.quantile(steps, 0.9))
        apart = np.linalg.norm(starts[members] - arrays.fixed_points[attractor.id].numpy(), axis=1)
        order = members[np.argsort(apart)]
        assert attractor.nearest == order[:NAMED_STARTS].tolist()
        assert attractor.farthest == order[::-1][:NAMED_STARTS].tolist()
        # The score interval holds the fractions p for which the observed one is within 1.96 standard deviations of p.
        for end in attractor.basin_interval:
            distance = abs(attractor.basin_fraction - end)
            assert distance == pytest.approx(1.959963984540054 * np.sqrt(end * (1 - end) / 60), rel=1e-9)


def test_the_states_of_typical_members_are_where_they_start() -> None:
    system = wells()
    data = labelled(system)
    found = dl.analyse(system, data, settings=SETTINGS)
    kept, states = found.arrays.member_samples, found.arrays.member_states
    named = {sample for a in found.results.attractors for sample in (*a.nearest, *a.farthest)}
    assert kept.tolist() == sorted(named)
    assert torch.equal(states, data.images[kept])


def test_without_classes_there_is_no_purity() -> None:
    system = wells()
    found = dl.analyse(system, samples_of(system, 20), settings=SETTINGS)
    for attractor in found.results.attractors:
        assert (attractor.class_counts, attractor.purity, attractor.majority_class) == ({}, None, None)
        assert attractor.nearest


def test_only_the_largest_basins_are_pictured_and_small_ones_name_whom_they_have() -> None:
    attractors = PICTURED + 5
    points = torch.arange(attractors).double()[:, None]
    labels = torch.arange(attractors)
    zeros = torch.zeros(attractors, dtype=torch.float64)
    basins = Basins("a", points, zeros, torch.zeros(attractors, 1, dtype=torch.complex128), labels, labels)
    starts = points.float() + 0.25
    found = basin_statistics(basins, starts, torch.full((attractors,), -1), None, NAMED_STARTS)
    samples, states = typical_members(found, starts)
    assert samples.tolist() == list(range(PICTURED))
    assert torch.equal(states, starts[:PICTURED])
    numbered = attractors_of(basins, None, found)
    assert [attractor.nearest for attractor in numbered] == [[row] for row in range(attractors)]
    # None of them came to rest within the limit of steps.
    assert {(attractor.median_steps, attractor.slow_steps) for attractor in numbered} == {(None, None)}


def test_no_attractor_has_no_members() -> None:
    nothing = torch.zeros(0, dtype=torch.float64)
    basins = Basins(
        "a",
        nothing.reshape(0, 2),
        nothing,
        torch.zeros(0, 1, dtype=torch.complex128),
        torch.full((3,), -1),
        torch.arange(3),
    )
    found = basin_statistics(basins, torch.zeros(3, 2), torch.full((3,), -1), torch.zeros(3).long(), NAMED_STARTS)
    samples, states = typical_members(found, torch.zeros(3, 2))
    assert (samples.shape, states.shape) == ((0,), (0, 2))
    assert attractors_of(basins, None, found) == []


def test_the_basins_of_an_analysis_are_those_of_its_map() -> None:
    system = wells()
    data = samples_of(system, 40)
    found, expected = dl.analyse(system, data, settings=SETTINGS).basins(), dl.basins_of_attraction(system, data)
    found.check_map(system)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.samples, expected.samples)
    # Both stop at a fixed point, after other steps.
    torch.testing.assert_close(found.fixed_points, expected.fixed_points, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(found.residuals, expected.residuals, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(found.multipliers, expected.multipliers, rtol=0.0, atol=1e-7, equal_nan=True)
