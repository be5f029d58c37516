from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dynlab.datasets import Dataset
from dynlab.dynamics import iterate, reference_distances, states_at
from dynlab.maps import DenoisingAutoencoder

from systems import Formula, Linear, double_well, ghost


def shrinking(rate: float, dtype: torch.dtype = torch.float64) -> Linear:
    return Linear(torch.tensor([[rate]], dtype=dtype))


def test_only_chosen_samples_are_recorded_and_they_go_down_to_the_tolerance():
    states = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    orbits = iterate(double_well(), states, recorded=[250, 3])
    assert orbits.recorded.tolist() == [3, 250]
    whole = iterate(double_well(), states, recorded=300, early_labels=False)
    for column, sample in enumerate((3, 250)):
        length = int(whole.steps[sample])
        assert int(orbits.steps[sample]) == length
        recorded = orbits.step_lengths[:length, column]
        torch.testing.assert_close(recorded, whole.step_lengths[:length, sample], rtol=1e-6, atol=0.0)
        assert bool((recorded[:-1] >= 1e-4).all())
        assert float(recorded[-1]) < 1e-4
        assert bool(orbits.step_lengths[length:, column].isnan().all())


def test_recording_to_the_floor_goes_on_until_steps_get_no_shorter():
    system = Linear(torch.tensor([[0.9]]), torch.tensor([0.1]))  # float32, fixed point at 1
    orbits = iterate(system, torch.tensor([[0.0], [5.0]]), recorded=2, to_floor=True)
    lengths = orbits.step_lengths[:, 0].double().numpy()
    lengths = lengths[np.isfinite(lengths)]
    exact = 0.1 * 0.9 ** np.arange(len(lengths))
    assert lengths[-1] <= 2 * np.finfo(np.float32).eps
    above = exact > 1e-5
    np.testing.assert_allclose(lengths[above], exact[above], rtol=2e-2)
    assert int(orbits.steps[0]) < len(lengths)


def test_a_pause_at_a_ghost_is_no_floor():
    orbits = iterate(ghost(2e-4), torch.tensor([[-1.0]]), recorded=1, to_floor=True)
    lengths = orbits.step_lengths[:, 0]
    assert int(lengths.argmin()) == int((~lengths.isnan()).sum()) - 1  # it went on past the bottleneck, to rest
    assert float(lengths.nan_to_num(1.0).min()) < 1e-6


def test_quantiles_of_step_lengths_are_those_of_the_closed_form():
    rate = 0.9
    states = torch.logspace(-2, 2, 1001, dtype=torch.float64)[:, None]
    orbits = iterate(shrinking(rate), states, tolerance=1e-5, histogram=True, early_labels=False)
    assert orbits.histogram is not None
    found = orbits.histogram.quantiles([0.1, 0.5, 0.9])
    # of the starts from 1e-2 to 1e2, evenly spread in the logarithm
    for column, start in enumerate((10**-1.6, 1.0, 10**1.6)):
        exact = (1 - rate) * start * rate ** np.arange(len(found))
        above = exact > 2e-5
        np.testing.assert_allclose(found[above, column], exact[above], rtol=0.05)
        assert (found[exact < 0.5e-5, column] == 0).all()


def test_states_at_chosen_steps():
    frames = states_at(shrinking(0.5), torch.tensor([[8.0], [16.0]], dtype=torch.float64), [3, 0, 1, 3])
    assert frames[:, :, 0].tolist() == [[1.0, 2.0], [8.0, 16.0], [4.0, 8.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match=r"steps\[0\] is -1, expected at least 0"):
        states_at(shrinking(0.5), torch.ones(1, 1), [-1])


def test_distances_to_a_reference_step_are_those_of_the_closed_form():
    found = reference_distances(shrinking(0.5), torch.tensor([[8.0]], dtype=torch.float64), reference_step=3, steps=5)
    assert found.distances[:, 0].tolist() == [7.0, 3.0, 1.0, 0.0, 0.5, 0.75]
    assert found.converged.tolist() == [False]


def test_the_criterion_of_the_report_holds_for_an_orbit_at_rest_and_for_no_rotation():
    angle = 0.3
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = reference_distances(Linear(turn), torch.ones(1, 2))
    assert found.converged.tolist() == [False]
    assert reference_distances(shrinking(0.9, torch.float32), torch.ones(1, 1)).converged.tolist() == [True]


def test_digits_at_rest_meet_the_criterion_of_the_report(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    images = digits_test.images[:100]
    orbits = iterate(digits_dae, images, early_labels=False)
    found = reference_distances(digits_dae, images, reference_step=2000, steps=2100)
    assert found.converged.double().mean() > 0.95
    # and where it holds, the state at the reference step is the attractor
    reference = states_at(digits_dae, images, [2000])[0]
    apart = (reference.double() - orbits.states).norm(dim=1)
    assert float(apart[found.converged].max()) < 1e-3


def test_refuses_a_reference_that_is_not_on_the_way():
    with pytest.raises(ValueError, match="reference_step is 600, expected 1 to 599"):
        reference_distances(shrinking(0.5), torch.ones(1, 1), reference_step=600)


def test_refuses_samples_to_record_that_are_not_there():
    with pytest.raises(ValueError, match="recorded holds 7, expected indices from 0 to 1"):
        iterate(double_well(), torch.zeros(2, 2), recorded=[0, 7])


def test_a_map_that_overflows_is_recorded_up_to_there():
    orbits = iterate(Formula(1, lambda x: x * x), torch.tensor([[3.0]]), recorded=1, to_floor=True, max_exact_steps=50)
    assert not math.isfinite(float(orbits.step_lengths[-1, 0]))


def test_quantiles_count_no_sample_as_finished_before_its_steps_are_short():
    states = torch.linspace(1, 2, 500, dtype=torch.float64)[:, None]
    orbits = iterate(shrinking(0.9), states, histogram=True)
    assert orbits.histogram is not None
    median = orbits.histogram.quantiles([0.5])[:, 0]
    exact = 0.1 * 1.5 * 0.9 ** np.arange(len(median))
    above = exact > 2e-4
    np.testing.assert_allclose(median[above], exact[above], rtol=0.05)


def test_quantiles_of_orbits_that_leave_are_infinite():
    orbits = iterate(Formula(1, lambda x: x * x), torch.tensor([[0.5], [3.0]]), histogram=True, max_exact_steps=50)
    assert orbits.histogram is not None
    found = orbits.histogram.quantiles([0.0, 1.0])
    assert found[-1].tolist()[1] == math.inf
    assert found[0, 1] == pytest.approx(6.0, rel=0.05)


def test_orbits_that_leave_are_on_their_way_until_then():
    orbits = iterate(Formula(1, lambda x: x * x), torch.tensor([[2.0], [2.0]]), histogram=True, recorded=1)
    histogram = orbits.histogram
    assert histogram is not None
    finite = int(torch.isfinite(orbits.step_lengths[:, 0]).sum())
    assert histogram.counts.sum(axis=1).tolist() == [2] * finite + [0]
    assert histogram.left.tolist() == [0] * finite + [2]
    assert np.isinf(histogram.quantiles([0.5])).tolist() == [[False]] * finite + [[True]]
