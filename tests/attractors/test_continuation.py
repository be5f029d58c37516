"""Continuation: bifurcations known in closed form, and networks against Newton's method at given parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Buffer

from dynlab.attractors.following import curve
from dynlab.attractors.following.bifurcations import Bifurcation, BifurcationKind
from dynlab.attractors.following.continuation import Branch, Stop, follow_fixed_point
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy
from dynlab.maps.classical import DelayedLogistic, Henon, Logistic
from dynlab.maps.gain import with_gain

from systems import Formula

FOLD, BRANCH_POINT = BifurcationKind.FOLD, BifurcationKind.BRANCH_POINT
PERIOD_DOUBLING, NEIMARK_SACKER = BifurcationKind.PERIOD_DOUBLING, BifurcationKind.NEIMARK_SACKER


class Cusp(Map):
    """`F(x) = x + (p + x - x^3) / 5`: folds at `p = -2 / sqrt(27)` and `2 / sqrt(27)`."""

    def __init__(self, p: float) -> None:
        super().__init__(1)
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return states + 0.2 * (self.p + states - states**3)


class Pitchforks(Map):
    """`F(x) = tanh(gain factors x)`: each coordinate has a pitchfork at 0 where `gain factor` is 1."""

    def __init__(self, factors: list[float], gain: float) -> None:
        super().__init__(len(factors))
        self.slopes = [gain * factor for factor in factors]

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(states * states.new_tensor(self.slopes))


class Ending(Map):
    """`F(x) = x / 2 + sqrt(1 - p)`, which is not there for p > 1."""

    def __init__(self, p: float) -> None:
        super().__init__(1)
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return states / 2 + states.new_tensor(1 - self.p).sqrt()


class Root(Map):
    """`F(x) = p sqrt(|x|)`, of which the fixed point 0 has no derivative."""

    def __init__(self, p: float) -> None:
        super().__init__(1)
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return self.p * states.abs().sqrt()


class Network(Map):
    """`F(x) = tanh(gain W x + b)`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, gain: float) -> None:
        super().__init__(len(bias))
        self.weight, self.bias = Buffer(gain * weight), Buffer(bias)

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(states @ self.weight.T + self.bias)


class WithoutFactors(Map):
    """A map that does not tell the factors of its Jacobian."""

    def __init__(self, system: Map) -> None:
        super().__init__(system.dim)
        self.system = system

    def forward(self, states: Tensor) -> Tensor:
        return self.system(states)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def column(*values: float, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)


def assert_is(found: Bifurcation, kind: BifurcationKind, parameter: float, state: list[float], multiplier: complex):
    assert found.kind is kind
    assert found.parameter == pytest.approx(parameter, abs=1e-8)
    assert found.state.tolist() == pytest.approx(state, abs=1e-7)
    assert abs(found.multiplier - multiplier) < 1e-7


def assert_consistent(branch: Branch, system_at: Callable[[float], Map]):
    """Every point is a fixed point with the multipliers stated, as numpy finds them."""
    for index, (parameter, state) in enumerate(zip(branch.parameters.tolist(), branch.states, strict=True)):
        system = system_at(parameter)
        assert (system(state[None])[0] - state).norm() <= 1e-12 * state.norm().clamp(min=1)
        jacobian = system.jacobian(state[None])[0].cpu().numpy()
        expected = np.linalg.eigvals(jacobian)
        expected = expected[np.argsort(-np.abs(expected), kind="stable")]
        stated = branch.multipliers[index]
        stated = stated[~stated.real.isnan()].numpy()
        np.testing.assert_allclose(np.abs(stated), np.abs(expected[: len(stated)]), rtol=0, atol=1e-8)
        if np.abs(np.abs(expected) - 1).min() > 1e-8:
            assert int(branch.unstable[index]) == (np.abs(expected) > 1).sum()
            sign = np.sign(np.linalg.det(np.eye(len(jacobian)) - jacobian))
            above_one = ((expected.imag == 0) & (expected.real > 1)).sum()
            assert sign == (-1) ** above_one
    assert branch.residuals.max() <= 1e-12


def test_logistic_has_a_transcritical_bifurcation_at_one_on_both_branches(device: torch.device):
    along_zero = follow_fixed_point(Logistic, column(0.0, device=device), 0.4, until=2.0, first_step=0.05)
    assert along_zero.stop is Stop.REACHED
    assert float(along_zero.parameters[-1]) == 2.0
    (found,) = along_zero.bifurcations
    assert_is(found, BRANCH_POINT, 1.0, [0.0], 1)
    along_other = follow_fixed_point(Logistic, column(1 / 3, device=device), 1.5, until=0.5, first_step=0.05)
    (found,) = along_other.bifurcations
    assert_is(found, BRANCH_POINT, 1.0, [0.0], 1)
    expected = 1 - 1 / along_other.parameters
    torch.testing.assert_close(along_other.states[:, 0].cpu(), expected, rtol=0, atol=1e-9)
    assert_consistent(along_other, Logistic)


def test_logistic_doubles_its_period_at_three(device: torch.device):
    branch = follow_fixed_point(Logistic, column(0.3, device=device), 1.5, until=3.3, first_step=0.05)
    (found,) = branch.bifurcations
    assert_is(found, PERIOD_DOUBLING, 3.0, [2 / 3], -1)
    assert found.angle == pytest.approx(math.pi)
    assert branch.unstable.tolist() == (branch.parameters > 3).long().tolist()
    assert_consistent(branch, Logistic)


def test_henon_doubles_and_folds(device: torch.device):
    def family(a: float) -> Henon:
        return Henon(a, 0.3)

    start = family(1.0).fixed_points()[0].to(device)
    branch = follow_fixed_point(family, start, 1.0, until=-0.5, first_step=0.05, max_steps=40)
    doubling, fold = branch.bifurcations
    for found, kind, a in ((doubling, PERIOD_DOUBLING, 0.75 * 0.49), (fold, FOLD, -0.25 * 0.49)):
        x = (-0.7 + math.sqrt(0.49 + 4 * a)) / (2 * a)
        assert_is(found, kind, a, [x, 0.3 * x], -1 if kind is PERIOD_DOUBLING else 1)
    assert branch.stop is Stop.STEP_LIMIT
    assert "40 steps" in branch.reason
    assert len(branch.parameters) == 41
    assert_consistent(branch, family)
    turn = int(branch.parameters.argmin())
    for index, sign in ((turn - 1, 1), (turn + 1, -1), (40, -1)):
        a = float(branch.parameters[index])
        x = (-0.7 + sign * math.sqrt(0.49 + 4 * a)) / (2 * a)
        assert branch.states[index].tolist() == pytest.approx([x, 0.3 * x], rel=1e-9)


def test_delayed_logistic_has_a_neimark_sacker_bifurcation_at_two(device: torch.device):
    branch = follow_fixed_point(DelayedLogistic, column(0.33, 0.33, device=device), 1.5, until=2.2, first_step=0.05)
    (found,) = branch.bifurcations
    assert_is(found, NEIMARK_SACKER, 2.0, [0.5, 0.5], complex(0.5, math.sqrt(0.75)))
    assert found.angle == pytest.approx(math.pi / 3, abs=1e-8)
    assert_consistent(branch, DelayedLogistic)
    assert branch.unstable.tolist() == (2 * (branch.parameters > 2)).tolist()


def test_frames_hold_the_points_and_the_bifurcations(device: torch.device):
    branch = follow_fixed_point(DelayedLogistic, column(0.33, 0.33, device=device), 1.5, until=2.2, first_step=0.05)
    points, found = branch.to_frame(), branch.bifurcations_frame()
    assert points["parameter"].tolist() == branch.parameters.tolist()
    # Both coordinates of the fixed point are 1 - 1 / a, and its multipliers have the product a - 1.
    a = points["parameter"].to_numpy()
    assert points["norm"].to_numpy() == pytest.approx(math.sqrt(2) * (1 - 1 / a), abs=1e-9)
    pairs = points["leading_imag"].to_numpy() != 0
    assert points["spectral_radius"].to_numpy()[pairs] == pytest.approx(np.sqrt(a - 1)[pairs], abs=1e-9)
    assert (points["unstable"] == 0).tolist() == branch.is_stable.tolist() == (a < 2).tolist()
    assert found["kind"].tolist() == ["Neimark-Sacker"]
    assert found.iloc[0, 1:].tolist() == pytest.approx([2, math.sqrt(0.5), 0.5, math.sqrt(0.75), math.pi / 3], abs=1e-7)
    without = follow_fixed_point(Logistic, column(0.3, device=device), 1.5, until=1.6, first_step=0.05)
    assert list(without.bifurcations_frame().columns) == list(found.columns)
    assert without.bifurcations_frame().empty


def test_pitchfork_on_the_branch_that_it_leaves_and_on_the_ones_it_makes(device: torch.device):
    def family(gain: float) -> Map:
        return Pitchforks([1.0], gain)

    straight = follow_fixed_point(family, column(0.0, device=device), 0.5, until=2.0, first_step=0.07)
    (found,) = straight.bifurcations
    assert_is(found, BRANCH_POINT, 1.0, [0.0], 1)
    around = follow_fixed_point(family, column(0.95, device=device), 2.0, until=0.5, first_step=0.07)
    (found,) = around.bifurcations
    assert_is(found, BRANCH_POINT, 1.0, [0.0], 1)
    assert around.stop is Stop.RETURNED
    assert float(around.parameters[-1]) == 2.0
    assert float(around.states[-1]) == pytest.approx(-float(around.states[0]), abs=1e-10)
    assert not around.unstable.any()
    assert_consistent(around, family)


def test_cusp_has_two_folds(device: torch.device):
    branch = follow_fixed_point(Cusp, column(-1.3, device=device), -1.0, until=1.0, first_step=0.05)
    right, left = branch.bifurcations
    assert_is(right, FOLD, 2 / math.sqrt(27), [-1 / math.sqrt(3)], 1)
    assert_is(left, FOLD, -2 / math.sqrt(27), [1 / math.sqrt(3)], 1)
    assert branch.stop is Stop.REACHED
    # The middle branch is the unstable one, and the parameter runs backwards there.
    middle = branch.states[:, 0].abs() < 1 / math.sqrt(3)
    assert branch.unstable.tolist() == middle.long().tolist()
    backwards = branch.parameters.diff() < 0
    assert backwards[middle[1:].cpu() & middle[:-1].cpu()].all()
    assert_consistent(branch, Cusp)


@pytest.mark.parametrize("k", [1, 6])
def test_crossings_within_one_step_are_told_apart(k: int, device: torch.device):
    factors = [1.0, 0.99, -0.985, 0.98, 0.97, 0.3]

    def family(gain: float) -> Map:
        return Pitchforks(factors, gain)

    branch = follow_fixed_point(family, torch.zeros(6, device=device), 0.5, until=1.5, first_step=0.3, k=k)
    assert [found.parameter for found in branch.bifurcations] == pytest.approx(
        [1 / abs(factor) for factor in factors[:5]], abs=1e-8
    )
    assert [found.kind for found in branch.bifurcations] == [
        PERIOD_DOUBLING if factor < 0 else BRANCH_POINT for factor in factors[:5]
    ]
    assert int(branch.unstable[-1]) == 5
    assert_consistent(branch, family)


def test_crossings_at_the_same_parameter_are_all_counted(device: torch.device):
    branch = follow_fixed_point(
        lambda gain: Pitchforks([1.0, 1.0, 0.5], gain), torch.zeros(3, device=device), 0.5, until=1.4, first_step=0.3
    )
    assert [found.kind for found in branch.bifurcations] == [BRANCH_POINT, BRANCH_POINT]
    assert [found.parameter for found in branch.bifurcations] == pytest.approx([1, 1], abs=1e-8)


@pytest.mark.parametrize(("dim", "seed", "until"), [(20, 2, 3.0), (20, 3, 3.0), (50, 5, 2.0)])
def test_networks_agree_with_newton_at_given_parameters(dim: int, seed: int, until: float, device: torch.device):
    weight, bias = normal(dim, dim, seed=seed) / math.sqrt(dim), 0.1 * normal(dim, seed=seed + 10)

    def family(gain: float) -> Map:
        return Network(weight, bias, gain).to(device)

    branch = follow_fixed_point(family, torch.tanh(bias).to(device), 0.1, until=until, first_step=0.1)
    assert branch.stop is Stop.REACHED
    assert_consistent(branch, family)
    backwards = (branch.parameters.diff() < 0).nonzero()
    turn = int(backwards[0, 0]) if len(backwards) else len(branch.parameters)
    w, b, x = weight.numpy(), bias.numpy(), np.tanh(bias.numpy())
    # Small steps of the parameter itself, with Newton's method by numpy, up to the first fold.
    last = 0.1
    for target, state in zip(branch.parameters[:turn].tolist(), branch.states, strict=False):
        for gain in np.linspace(last, target, 20):
            for _ in range(8):
                image = np.tanh(gain * w @ x + b)
                jacobian = (1 - image**2)[:, None] * gain * w
                x = x + np.linalg.solve(np.eye(dim) - jacobian, image - x)
        last = target
        np.testing.assert_allclose(state.cpu().numpy(), x, rtol=0, atol=1e-9)
    assert branch.bifurcations
    for found in branch.bifurcations:
        image = np.tanh(found.parameter * w @ found.state.cpu().numpy() + b)
        np.testing.assert_allclose(image, found.state.cpu().numpy(), rtol=0, atol=1e-10)
        eigenvalues = np.linalg.eigvals((1 - image**2)[:, None] * found.parameter * w)
        assert np.abs(eigenvalues - found.multiplier).min() < 1e-7
        assert abs(found.multiplier) == pytest.approx(1, abs=1e-8)
        assert (found.kind is NEIMARK_SACKER) == (abs(found.multiplier.imag) > 1e-6)
    # Each change of the number of unstable directions is explained by a bifurcation.
    crossings = sum(2 if found.kind is NEIMARK_SACKER else 1 for found in branch.bifurcations)
    assert crossings >= int(branch.unstable.diff().abs().sum())
    assert (crossings - int(branch.unstable.diff().sum())) % 2 == 0
    folds = [found.kind is FOLD for found in branch.bifurcations].count(True)
    assert folds == int((branch.parameters.diff().sign().diff() != 0).sum())


@pytest.mark.parametrize("seed", [2, 3])
def test_no_crossing_is_missed_in_a_network(seed: int):
    dim = 20
    weight, bias = normal(dim, dim, seed=seed) / math.sqrt(dim), 0.1 * normal(dim, seed=seed + 10)
    branch = follow_fixed_point(
        lambda gain: Network(weight, bias, gain), torch.tanh(bias), 0.5, until=2.5, first_step=0.1
    )
    assert (branch.parameters.diff() > 0).all()
    # Newton's method by numpy at 2001 parameters, where two crossings at a time are rare.
    w, b, x = weight.numpy(), bias.numpy(), branch.states[0].numpy()
    gains, unstable = np.linspace(0.5, 2.5, 2001), []
    for gain in gains:
        jacobian = np.zeros_like(w)
        for _ in range(4):
            image = np.tanh(gain * w @ x + b)
            jacobian = (1 - image**2)[:, None] * gain * w
            x = x + np.linalg.solve(np.eye(dim) - jacobian, image - x)
        unstable.append((np.abs(np.linalg.eigvals(jacobian)) > 1).sum())
    changes = np.diff(unstable)
    expected = [gain for gain, change in zip(gains[1:], changes, strict=True) if change]
    assert set(np.abs(changes)) <= {0, 1, 2}
    assert [found.parameter for found in branch.bifurcations] == pytest.approx(expected, abs=1e-3)
    assert [2 if found.kind is NEIMARK_SACKER else 1 for found in branch.bifurcations] == [
        abs(change) for change in changes if change
    ]


def test_a_poor_derivative_by_the_parameter_changes_the_steps_alone(monkeypatch: pytest.MonkeyPatch):
    def family(gain: float) -> Map:
        return Pitchforks([1.0], gain)

    exact = follow_fixed_point(family, torch.tensor([0.95]), 2.0, until=1.2, first_step=0.07)
    monkeypatch.setattr(curve, "_DIFFERENCE", 0.3)
    poor = follow_fixed_point(family, torch.tensor([0.95]), 2.0, until=1.2, first_step=0.07)
    assert not torch.equal(poor.parameters[:3], exact.parameters[:3])
    torch.testing.assert_close(poor.states[-1], exact.states[-1], rtol=0, atol=1e-11)
    assert_consistent(poor, family)


def autoencoder(*, tied: bool = False) -> DenoisingAutoencoder:
    system = DenoisingAutoencoder(30, 12, tied=tied)
    for seed, parameter in enumerate(system.parameters()):
        parameter.data = (normal(*parameter.shape, seed=seed) * (2.5 if parameter.ndim == 2 else 0.2)).float()
    return system


@pytest.mark.parametrize("tied", [False, True])
def test_gain_one_is_the_map_itself(tied: bool, device: torch.device):
    system = autoencoder(tied=tied).to(device)
    states = normal(4, 30).to(device)
    exact = float64_copy(system)
    assert torch.equal(with_gain(system, 1.0)(states), exact(states))
    expected = exact.decode(torch.sigmoid(2.5 * states @ exact.encoder["weight"].T + exact.encoder["bias"]))
    torch.testing.assert_close(with_gain(system, 2.5)(states), expected, rtol=1e-13, atol=1e-13)
    assert {parameter.dtype for parameter in system.parameters()} == {torch.float32}
    assert torch.equal(with_gain(exact, 3.0).encoder["weight"], 3 * exact.encoder["weight"])
    assert torch.equal(exact(states), float64_copy(system)(states))
    with pytest.raises(ValueError, match="gain is nan"):
        with_gain(system, math.nan)


def test_factors_of_the_jacobian_change_nothing_but_the_cost(device: torch.device):
    exact = float64_copy(autoencoder()).to(device)
    start = torch.full((30,), 0.5, dtype=torch.float64, device=device)
    by_factors, dense = (
        follow_fixed_point(family, start, 0.0, until=0.6, first_step=0.1)
        for family in (lambda gain: with_gain(exact, gain), lambda gain: WithoutFactors(with_gain(exact, gain)))
    )
    assert_consistent(by_factors, lambda gain: with_gain(exact, gain))
    assert by_factors.stop is dense.stop is Stop.REACHED
    torch.testing.assert_close(by_factors.states[-1], dense.states[-1], rtol=0, atol=1e-9)
    assert [found.kind for found in by_factors.bifurcations] == [found.kind for found in dense.bifurcations]
    assert [found.parameter for found in by_factors.bifurcations] == pytest.approx(
        [found.parameter for found in dense.bifurcations], abs=1e-8
    )
    assert [found.kind for found in by_factors.bifurcations] == [PERIOD_DOUBLING, NEIMARK_SACKER]


def test_where_the_map_ends_the_branch_fails_and_says_where():
    branch = follow_fixed_point(Ending, torch.tensor([2.0]), 0.0, until=2.0, first_step=0.1)
    assert branch.stop is Stop.FAILED
    assert 0.99 < float(branch.parameters[-1]) <= 1
    assert "corrector did not converge" in branch.reason
    torch.testing.assert_close(branch.states[:, 0], 2 * (1 - branch.parameters).sqrt(), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameter": math.nan}, "parameter is nan"),
        ({"until": math.inf}, "until is inf"),
        ({"until": 1.5}, "until is 1.5, expected another number than parameter"),
        ({"first_step": 0.0}, "first_step is 0.0"),
        ({"max_step": 0.01}, "max_step is 0.01, expected a finite number of at least first_step"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"k": 0}, "k is 0"),
        ({"start": torch.zeros(2)}, "start has shape"),
        ({"start": torch.tensor([math.nan])}, "start is not finite"),
    ],
)
def test_arguments_out_of_range_are_refused(change: dict, message: str):
    settings = {"start": torch.tensor([0.3]), "parameter": 1.5, "until": 2.0, "first_step": 0.1} | change
    with pytest.raises(ValueError, match=message):
        follow_fixed_point(Logistic, settings.pop("start"), settings.pop("parameter"), **settings)


def test_a_start_without_a_fixed_point_is_refused():
    with pytest.raises(ValueError, match=r"no fixed point at parameter -1.0"):
        follow_fixed_point(lambda a: Henon(a), torch.tensor([1.0, 0.3]), -1.0, until=1.0, first_step=0.1)


def test_a_start_at_a_branch_point_is_refused():
    with pytest.raises(ValueError, match="fold or branch point"):
        follow_fixed_point(Logistic, torch.tensor([0.0]), 1.0, until=2.0, first_step=0.1)


def test_a_start_without_a_jacobian_is_refused():
    with pytest.raises(ValueError, match="start leads to a fixed point that cannot be followed"):
        follow_fixed_point(Root, torch.tensor([0.0]), 1.0, until=2.0, first_step=0.1)
    branch = follow_fixed_point(Root, torch.tensor([1.0]), 1.0, until=2.0, first_step=0.1)
    torch.testing.assert_close(branch.states[:, 0], branch.parameters.square(), rtol=1e-11, atol=0)


@pytest.mark.parametrize(("start", "first_step"), [(1e-4, 0.05), (1e-4, 0.01), (2e-3, 0.1)])
def test_a_fold_within_the_first_step_is_passed(start: float, first_step: float) -> None:
    branch = follow_fixed_point(
        square_root, torch.tensor([start**0.5]).double(), start, until=-1.0, first_step=first_step
    )
    assert branch.stop is Stop.RETURNED
    assert [found.kind for found in branch.bifurcations] == [BifurcationKind.FOLD]
    assert branch.bifurcations[0].parameter == pytest.approx(0.0, abs=1e-8)
    assert float(branch.states[-1]) == pytest.approx(-(start**0.5), abs=1e-10)


@pytest.mark.parametrize("until", [1e-3, 1e-4])
def test_a_branch_ends_where_it_should_just_before_a_fold(until: float) -> None:
    branch = follow_fixed_point(square_root, torch.ones(1).double(), 1.0, until=until, first_step=0.05)
    assert branch.stop is Stop.REACHED
    assert branch.bifurcations == ()
    assert float(branch.states[-1]) == pytest.approx(until**0.5, abs=1e-10)


def square_root(parameter: float) -> Map:
    """Fixed points at the square roots of the parameter, which meet in a fold at 0."""
    return Formula(1, lambda x: x + 0.5 * (parameter - x * x))


def test_pairs_that_cross_together_are_named_once_each() -> None:
    """Two delayed logistic maps side by side; each has its Neimark-Sacker bifurcation at parameter 2."""

    def system_at(parameter: float) -> Formula:
        def apply(states: torch.Tensor) -> torch.Tensor:
            x, before, y, y_before = states.unbind(1)
            return torch.stack([parameter * x * (1 - before), x, parameter * y * (1 - y_before), y], dim=1)

        return Formula(4, apply)

    branch = follow_fixed_point(system_at, torch.full((4,), 1 / 3), 1.5, until=2.5, first_step=0.01)
    assert [found.kind for found in branch.bifurcations] == [BifurcationKind.NEIMARK_SACKER] * 2
    for found in branch.bifurcations:
        assert found.parameter == pytest.approx(2, abs=1e-6)


class Bounded(Map):
    """`F(x) = x + p (1 - x)`, which is there for `p` in an interval only."""

    def __init__(self, p: float, least: float, most: float) -> None:
        super().__init__(1)
        if not least <= p <= most:
            raise ValueError(f"p is {p}, expected {least} to {most}")
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return states + self.p * (1 - states)


@pytest.mark.parametrize("first_step", [0.01, 0.3, 5.0])
def test_a_family_that_ends_where_the_branch_shall_end_is_followed_to_there(first_step: float) -> None:
    branch = follow_fixed_point(
        lambda p: Bounded(p, 0.25, 0.5), torch.tensor([1.0]), 0.25, until=0.5, first_step=first_step
    )
    assert branch.stop is Stop.REACHED
    assert branch.parameters[-1] == 0.5
    torch.testing.assert_close(branch.states, torch.ones_like(branch.states))
    torch.testing.assert_close(branch.multipliers[:, 0].real, 1 - branch.parameters, rtol=0, atol=1e-12)


def test_a_family_that_fails_inside_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"p is 0\.\d+, expected 0\.25 to 0\.4"):
        follow_fixed_point(lambda p: Bounded(p, 0.25, 0.4), torch.tensor([1.0]), 0.3, until=0.5, first_step=0.01)
