from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics import iterate, newton
from dynlab.dynamics.completeness import completeness
from dynlab.maps import DenoisingAutoencoder, float64_copy

from systems import Formula, Linear, double_well


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


# A cubic map of [-1.2, 1.2] into itself with its fixed points at -1, 0 and 1.
CUBIC = Formula(1, lambda x: x + 0.3 * x * (1 - x * x))


def test_all_fixed_points_of_an_interval_add_up_to_one():
    whole = completeness(CUBIC, rows(-1, 0, 1))
    assert whole.indices.tolist() == [1, -1, 1]
    assert (whole.index_sum, whole.missing, whole.undecided, whole.expected) == (1, 0, 0, 1)


def test_attractors_alone_lack_their_saddles():
    assert completeness(CUBIC, rows(-1, 1)).missing == 1
    assert completeness(CUBIC, rows(0)).missing == 2
    # What cancels is not seen: a sum of one does not make a set complete.
    assert completeness(CUBIC, rows(1)).missing == 0
    assert completeness(CUBIC, rows(0, 1)).missing == 1
    assert completeness(CUBIC, rows()).missing == 1


def test_of_maps_that_keep_no_set_nothing_is_expected():
    doubling = Formula(1, lambda x: 2 * x)
    found = completeness(doubling, rows(0), expected=None)
    assert (found.index_sum, found.expected, found.missing) == (-1, None, None)
    assert completeness(doubling, rows(0), expected=-1).missing == 0


def test_the_double_well_in_the_plane():
    points = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert completeness(double_well(), points).indices.tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    ("multipliers", "expected"),
    [
        ([0.5, -3.0], 1),  # below -1 is unstable, but no sign changes there
        ([1.5, 0.5], -1),
        ([1.5, 2.5], 1),
        ([1.5, 2.5, 3.5], -1),
        ([1.0, 0.5], 0),
        ([1.0 + 1e-11, 0.5], 0),
        ([1.0 + 1e-6, 0.5], -1),
        ([1.0 - 1e-6, 0.5], 1),
    ],
)
def test_signs_of_linear_maps(multipliers: list[float], expected: int, device: torch.device):
    generator = torch.Generator().manual_seed(0)
    size = len(multipliers)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    matrix = basis @ torch.diag(torch.tensor(multipliers, dtype=torch.float64)) @ basis.T
    zero = torch.zeros(1, size, dtype=torch.float64, device=device)
    assert completeness(Linear(matrix.to(device)), zero).indices.tolist() == [expected]


def test_a_pair_of_complex_multipliers_counts_as_plus_one():
    rotation = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=torch.float64)
    assert completeness(Linear(rotation), torch.zeros(1, 2, dtype=torch.float64)).indices.tolist() == [1]


def test_undecided_signs_are_given_the_benefit_of_the_doubt():
    identity = Linear(torch.eye(2, dtype=torch.float64))
    result = completeness(identity, torch.zeros(3, 2, dtype=torch.float64))
    assert (result.index_sum, result.undecided, result.missing) == (0, 3, 0)


@pytest.mark.parametrize("hidden", [3, 9])
def test_the_smaller_matrix_has_the_same_sign(hidden: int, device: torch.device):
    system = DenoisingAutoencoder(6, hidden, hidden_nonlinearity="tanh", output_nonlinearity="identity").double()
    generator = torch.Generator().manual_seed(1)
    seen = set()
    for _ in range(20):
        for parameter in system.parameters():
            parameter.data.normal_(generator=generator)
        system.encoder["bias"].data.zero_()
        system.decoder["bias"].data.zero_()  # so that 0 is fixed
        jacobian = system.decoder["weight"].detach() @ system.encoder["weight"].detach()
        above = int(((torch.linalg.eigvals(jacobian).imag == 0) & (torch.linalg.eigvals(jacobian).real > 1)).sum())
        result = completeness(system.to(device), torch.zeros(1, 6, dtype=torch.float64, device=device))
        assert result.indices.tolist() == [(-1) ** above]
        system.cpu()
        seen.add((-1) ** above)
    assert seen == {-1, 1}


def test_saddles_bring_the_digits_nearer_to_one(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    exact = float64_copy(digits_dae)
    points = [point.state for point in iterate(digits_dae, digits_test.images[:40]).fixed_points]
    attractors = completeness(digits_dae, torch.stack(points))
    assert attractors.index_sum == len(points) > 3
    assert attractors.missing == len(points) - 1
    saddles: list[Tensor] = []
    for a in points:
        for b in points:
            solution = newton(exact, (a + b) / 2)
            multipliers = torch.linalg.eigvals(exact.jacobian(solution.state[None])[0])
            odd = int(((multipliers.imag == 0) & (multipliers.real > 1)).sum()) % 2 == 1
            new = all(float((solution.state - other).norm()) > 1e-6 for other in saddles)
            if solution.is_fixed_point and odd and new:
                saddles.append(solution.state)
    assert saddles
    both = completeness(digits_dae, torch.stack(points + saddles))
    assert both.indices.tolist() == [1] * len(points) + [-1] * len(saddles)
    assert both.missing == abs(len(points) - len(saddles) - 1)


def test_wrong_states_are_refused():
    with pytest.raises(ValueError, match="fixed_points has shape"):
        completeness(CUBIC, torch.zeros(2, 3, dtype=torch.float64))
