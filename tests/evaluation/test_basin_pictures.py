"""Pictures of basins on planes through attractors: their geometry, and basins that are known in closed form."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import dynlab as dl
from dynlab.attractors.reached import known_attractors
from dynlab.errors import InputError
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.planes import BOX, Planes, basin_planes, planes_through
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps.classical import MultiWell

PROTOTYPE, STAIN = Kind.PROTOTYPE, Kind.STAIN
SAME = (Kind.UNKNOWN, None)


def states_of(planes: Planes, fixed_points: torch.Tensor, number: int) -> torch.Tensor:
    """The states of a picture, first along the first direction."""
    along, across = planes.axes[number]
    one, other = planes.directions[number]
    start = fixed_points[planes.pictures[number].attractors[0]].cpu()
    return start + along[:, None, None] * one + across[None, :, None] * other


# Even resolutions: the wells are symmetric, and states in the middle of an odd picture would be on a boundary.
def pictures(system: MultiWell, *, known: int = 4, planes: int = 1, resolution: int = 22) -> Planes:
    wells = system.wells()[:known]
    return basin_planes(
        system, wells.cpu(), [SAME] * known, known_attractors(system, wells), planes=planes, resolution=resolution
    )


def test_every_state_of_a_picture_has_the_attractor_it_reaches(device: torch.device) -> None:
    system = MultiWell((1.0, 0.7), 5).double().to(device)
    found = pictures(system, planes=2)
    for number in range(len(found.pictures)):
        states = states_of(found, system.wells(), number).reshape(-1, 5).to(device)
        assert found.labels[number].flatten().tolist() == system.basins(states).tolist()
    assert len(found.pictures) == 2
    assert len(found.labels.unique()) == 4
    assert found.others.shape == (0, 5)


def test_distances_on_a_picture_are_those_of_states_and_its_attractors_are_on_it() -> None:
    system = MultiWell((1.0, 0.7), 6).double()
    wells = system.wells()
    found = pictures(system)
    torch.testing.assert_close(found.directions[0] @ found.directions[0].T, torch.eye(2).double(), rtol=0, atol=1e-12)
    through = list(found.pictures[0].attractors)
    ways = wells[through] - wells[through[0]]
    places = ways @ found.directions[0].T
    # Nothing of them is off the plane, and the second is straight along the first direction.
    torch.testing.assert_close(places @ found.directions[0], ways, rtol=0.0, atol=1e-12)
    assert float(places[1, 1]) == pytest.approx(0.0, abs=1e-12)
    assert float(places[1, 0]) > 0
    along, across = found.axes[0]
    for attractor, (x, y) in zip(through, places.tolist(), strict=True):
        assert float(along[0]) < x < float(along[-1])
        assert float(across[0]) < y < float(across[-1])
        nearest = int((along - x).abs().argmin()), int((across - y).abs().argmin())
        assert found.labels[0][nearest] == attractor
    # The picture is a square of even cells.
    torch.testing.assert_close(along.diff(), across.diff().mean().expand(21), rtol=1e-9, atol=0.0)


def test_attractors_that_no_sample_reaches_follow_the_known_ones() -> None:
    system = MultiWell((1.0, 0.7), 4).double()
    wells = system.wells()
    found = pictures(system, known=3)
    states = states_of(found, wells, 0).reshape(-1, 4)
    reached = system.basins(states)
    assert found.pictures[0].unsampled == len(found.others) == int((reached == 3).any())
    assert found.labels[0].flatten().tolist() == reached.tolist()
    assert found.pictures[0].basins == len(reached.unique())
    torch.testing.assert_close(found.others, wells[3:], rtol=0.0, atol=1e-9)


def test_states_of_two_numbers_are_drawn_on_their_plane(device: torch.device) -> None:
    system = MultiWell((1.0, 0.7), 2).double().to(device)
    wells, samples = system.wells(), torch.tensor([[1.6, -1.0], [-1.5, 0.5]])
    for count in (1, 2, 4):  # of which no three are needed
        known = known_attractors(system, wells[:count])
        found = basin_planes(
            system, wells[:count].cpu(), [SAME] * count, known, planes=3, resolution=22, samples=samples
        )
        assert [picture.attractors for picture in found.pictures] == [tuple(range(count))]
        assert torch.equal(found.directions[0], torch.eye(2).double())
        states = states_of(found, wells, 0).reshape(-1, 2)
        everything = torch.cat([samples.double(), wells[:count].cpu()])
        for shown in everything:
            assert (states.amin(dim=0) < shown).all()
            assert (shown < states.amax(dim=0)).all()
        reached = system.basins(states.to(device)).cpu()
        names = torch.cat([wells[:count].cpu(), found.others])
        assert torch.allclose(names[found.labels[0].flatten()], wells.cpu()[reached], atol=1e-9)
    (alone,) = basin_planes(system, wells[:0].cpu(), [], [], planes=1, resolution=22, samples=samples).pictures
    assert (alone.attractors, alone.basins, alone.unsampled) == ((), 4, 4)
    assert basin_planes(system, wells[:0].cpu(), [], [], planes=1, resolution=22).pictures == []
    unwanted = basin_planes(
        system, wells[:1].cpu(), [SAME], known_attractors(system, wells[:1]), planes=0, resolution=22
    )
    assert unwanted.pictures == []


def test_a_sample_far_away_leaves_the_picture_to_the_others() -> None:
    system = MultiWell((1.0, 0.7), 2).double()
    wells = system.wells()
    samples = torch.cat([torch.rand(200, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([[1e4, 0.0]])])
    found = basin_planes(
        system, wells, [SAME] * 4, known_attractors(system, wells), planes=1, resolution=10, samples=samples
    )
    assert float(found.axes.abs().max()) < 10


def test_one_attractor_where_all_samples_are_has_a_picture_too() -> None:
    system = dl.as_map(lambda states: states / 2, (2,))
    found = dl.analyse(system, torch.zeros(3, 2), settings=AnalysisSettings(plane_resolution=10))
    low, high = found.arrays.plane_axes[0].aminmax(dim=1)
    torch.testing.assert_close(torch.stack([low, high]), torch.tensor([[-0.5, -0.5], [0.5, 0.5]]).double())


def test_a_picture_counts_its_boxes() -> None:
    found = pictures(MultiWell((1.0, 0.7), 3).double(), resolution=22)
    picture, labels = found.pictures[0], found.labels[0]
    several: Counter[int] = Counter()
    for row in range(0, 20, BOX):
        for column in range(0, 20, BOX):
            several[len(set(labels[row : row + BOX, column : column + BOX].flatten().tolist()))] += 1
    assert picture.entropy.boxes == 16
    assert picture.entropy.boundary_boxes == 16 - several[1]
    assert picture.crowded_boxes == sum(boxes for basins, boxes in several.items() if basins > 2)
    assert picture.unresolved == int((labels < 0).sum())


def test_a_plane_takes_near_attractors_that_differ() -> None:
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1.5], [2, 0.5], [0, 3], [9, 9]]).double()
    looks = [(PROTOTYPE, 3), (PROTOTYPE, 3), (PROTOTYPE, 8), (PROTOTYPE, 8), (STAIN, None), (STAIN, None)]
    # From 0: 1 is of the same class, 2 is the nearest other; 4 is on a line with both, so that 5 is what differs.
    assert planes_through(points, looks, 1) == [(0, 2, 5)]
    # Then the largest that is on none: 1; its nearest unlike one is 3, the nearest that differs from both is 4.
    assert planes_through(points, looks, 2) == [(0, 2, 5), (1, 3, 4)]
    # All are alike: the nearest.
    assert planes_through(points, [SAME] * 6, 1) == [(0, 1, 2)]


def test_no_attractor_begins_two_planes() -> None:
    points = torch.rand(40, 5, generator=torch.Generator().manual_seed(0)).double()
    found = planes_through(points, [SAME] * 40, 100)
    firsts = [plane[0] for plane in found]
    assert all(one < other for one, other in pairwise(firsts))
    assert len({frozenset(plane) for plane in found}) == len(found) > 3
    assert max(max(plane) for plane in found) < 30  # the large ones


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(0, 3),
        torch.rand(1, 3),
        torch.rand(2, 3),
        torch.tensor([[0.0], [1.0], [2.5]]),
        torch.tensor([[0.0, 0], [1, 1], [3, 3], [-2, -2]]),
    ],
)
def test_what_spans_no_plane_has_no_picture(points: torch.Tensor) -> None:
    assert planes_through(points.double(), [SAME] * len(points), 3) == []


def test_arguments_out_of_range_are_refused() -> None:
    system = MultiWell((1.0, 0.7), 3).double()
    with pytest.raises(ValueError, match="planes is -1, expected at least 0"):
        pictures(system, planes=-1)
    with pytest.raises(ValueError, match="resolution is 4, expected at least 5"):
        pictures(system, resolution=4)
    wells = system.wells()
    with pytest.raises(ValueError, match="known does not have all of fixed_points"):
        basin_planes(system, wells, [SAME] * 4, known_attractors(system, wells[:3]), planes=1, resolution=10)
    with pytest.raises(InputError, match="basin_planes is -1, expected at least 0"):
        AnalysisSettings(basin_planes=-1)
    with pytest.raises(InputError, match="plane_resolution is 4, expected at least 5"):
        AnalysisSettings(plane_resolution=4)


def analysis(planes: int) -> Analysis:
    system = MultiWell((1.0, 0.7), 3).double()
    samples = system.wells().repeat(3, 1).float() + 0.1
    settings = AnalysisSettings(
        linearized_attractors=0, certified_attractors=0, basin_planes=planes, plane_resolution=12
    )
    return dl.analyse(system, samples, settings=settings)


def test_an_analysis_draws_as_many_planes_as_are_asked_for() -> None:
    none, two = analysis(0), analysis(2)
    assert none.results.planes == []
    assert none.arrays.plane_labels.shape == (0, 12, 12)
    assert len(two.results.planes) == 2
    system = MultiWell((1.0, 0.7), 3).double()
    for number, picture in enumerate(two.results.planes):
        along, across = two.arrays.plane_axes[number]
        one, other = two.arrays.plane_directions[number]
        start = two.arrays.fixed_points[picture.attractors[0]]
        states = start + along[:, None, None] * one + across[None, :, None] * other
        # Basins of the analysis are numbered by size, not as the wells are.
        numbers = system.basins(two.arrays.fixed_points).tolist()
        expected = [numbers.index(well) for well in system.basins(states.reshape(-1, 3)).tolist()]
        assert two.arrays.plane_labels[number].flatten().tolist() == expected


def test_a_plane_through_no_attractor_is_refused(tmp_path: Path) -> None:
    analysis(1).save(tmp_path)
    path = tmp_path / "results.json"
    results = json.loads(path.read_text())
    results["planes"][0]["attractors"][2] = 7
    path.write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"results\.json: names attractor 7, expected 0 to 3"):
        Analysis.load(tmp_path)
