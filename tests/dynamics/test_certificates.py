"""Each statement of docs/certificates.md is tested here, most of them on maps of one unit, where all is computable."""

from __future__ import annotations

import dataclasses
import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics import iterate, newton
from dynlab.dynamics.balls import PLAIN, Arithmetic, balls
from dynlab.dynamics.certificates import LARGEST_RADIUS, METHODS, Certificate, CertificateStatus, certify
from dynlab.dynamics.curves import CURVES
from dynlab.dynamics.slopes import LayeredSlopes
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy
from dynlab.maps.layers import Layer

from systems import Formula


class Layers(Map):
    """Any composition of layers."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__(layers[0].weight.shape[1])
        self._layers = layers

    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    def forward(self, states: Tensor) -> Tensor:
        for weight, bias, name in self._layers:
            f = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda u: u}[name]
            states = f(states @ weight.T + bias)
        return states


class Fold(Formula):
    """`F(x) = rate x + curvature x^2`: stable at 0, its saddle at `(1 - rate) / curvature`."""

    def __init__(self, rate: float, curvature: float) -> None:
        super().__init__(1, lambda x: rate * x + curvature * x * x)
        self.constant = 2 * abs(curvature)

    def jacobian_lipschitz(self, state: Tensor, radius: float) -> float:
        return self.constant


def affine(matrix: Tensor, shift: Tensor | None = None) -> Layers:
    return Layers(Layer(matrix, matrix.new_zeros(len(matrix)) if shift is None else shift, "identity"))


def one_unit(
    slope: float, centre: float, gain: float, shift: float, hidden: str = "sigmoid", output: str = "sigmoid"
) -> DenoisingAutoencoder:
    """`F(x) = g(gain f(slope (x - centre)) + shift)`."""
    system = DenoisingAutoencoder(1, 1, hidden_nonlinearity=hidden, output_nonlinearity=output).double()
    system.encoder["weight"].data[:] = slope
    system.encoder["bias"].data[:] = -slope * centre
    system.decoder["weight"].data[:] = gain
    system.decoder["bias"].data[:] = shift
    return system


def all_fixed_points(system: Map, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Those of a map of one variable, by bisection between the sign changes of `F(x) - x` on a fine grid."""
    grid = torch.linspace(low, high, 20_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        signs = torch.sign(system(grid) - grid)[:, 0]
        found = []
        for index in (signs[1:] * signs[:-1] < 0).nonzero()[:, 0].tolist():
            a, b = float(grid[index]), float(grid[index + 1])
            for _ in range(60):
                middle = (a + b) / 2
                value = float(system(torch.tensor([[middle]], dtype=torch.float64))) - middle
                a, b = (middle, b) if math.copysign(1, value) == float(signs[index]) else (a, middle)
            found.append((a + b) / 2)
    return found


def derivative(system: Map, x: float) -> float:
    return float(system.jacobian(torch.tensor([[x]], dtype=torch.float64)))


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


BISTABLE = one_unit(8.0, 0.5, 7.0, -3.45)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", [0, 2])
def test_a_stable_fixed_point_of_one_unit(method: str, which: int):
    points = all_fixed_points(BISTABLE)
    assert len(points) == 3
    certificate = certify(BISTABLE, at(points[which]), method=method)
    assert certificate.status == ("proved" if method == "proof" else "estimated")
    assert not certificate.reason
    assert certificate.is_stable
    assert certificate.index == 1
    assert certificate.existence_radius < 1e-13
    gap = abs(points[which] - points[1])
    # The saddle is neither in the basin nor in the ball with one fixed point, and much of the way to it is proved.
    assert 0.5 * gap < certificate.basin_radius < gap
    assert 0.5 * gap < certificate.uniqueness_radius < gap
    # In one dimension every norm gives the multiplier itself.
    multiplier = derivative(BISTABLE, points[which])
    assert multiplier - 1e-12 <= certificate.contraction <= multiplier + 1e-9
    assert certificate.condition == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_no_radius_exceeds_the_truth(method: str):
    generator = np.random.default_rng(0)
    shown = 0
    for _ in range(30):
        slope, gain = generator.uniform(4, 12, 2) * generator.choice([-1, 1], 2)
        system = one_unit(slope, generator.uniform(0.3, 0.7), gain, -gain / 2 + generator.uniform(-0.5, 0.5))
        points = all_fixed_points(system)
        for index, point in enumerate(points):
            certificate = certify(system, at(point), method=method)
            if certificate.status == "failed":
                assert certificate.reason
                continue
            others = [abs(point - other) for k, other in enumerate(points) if k != index]
            assert certificate.uniqueness_radius < min(others, default=math.inf)
            multiplier = derivative(system, point)
            assert certificate.index == (1 if multiplier < 1 else -1)
            assert certificate.is_stable == (abs(multiplier) < 1)
            if certificate.is_stable:
                ends = point + certificate.basin_radius * at(-1, 1)[:, None]
                for _ in range(20_000):
                    ends = system(ends).detach()
                    if (ends - point).abs().max() < 1e-9:
                        break
                assert (ends - point).abs().max() < 1e-9
                shown += 1
    assert shown > 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moved", [1e-9, 1e-5, 1e-3, -1e-3])
def test_a_state_beside_the_fixed_point_gets_a_ball_that_holds_it(method: str, moved: float):
    truth = all_fixed_points(BISTABLE)[0]
    certificate = certify(BISTABLE, at(truth + moved), method=method)
    assert certificate.status != "failed"
    assert abs(moved) <= certificate.existence_radius < 1.1 * abs(moved)
    assert certificate.uniqueness_radius < all_fixed_points(BISTABLE)[1] - (truth + moved)
    assert certificate.contraction >= derivative(BISTABLE, truth)
    untouched = certify(BISTABLE, at(truth), method=method)
    assert certificate.basin_radius < untouched.basin_radius


@pytest.mark.parametrize("method", METHODS)
def test_a_state_near_no_fixed_point_fails(method: str):
    certificate = certify(BISTABLE, at(0.3), method=method)
    assert certificate.status == "failed"
    assert certificate == Certificate(CertificateStatus.FAILED, certificate.reason)
    step = (float(BISTABLE(at(0.3)).detach()) - 0.3) / (1 - derivative(BISTABLE, 0.3))
    assert f"Newton's step from the state is {abs(step):.3g} long" in certificate.reason
    # A gap between the map and the diagonal that is narrow and yet open.
    fold = one_unit(8.0, 0.5, 7.0, -5.1)
    (stable,) = all_fixed_points(fold)
    ghost = float(min(np.linspace(stable + 0.1, 1, 3000), key=lambda x: abs(float(fold(at(x)).detach()) - x)))
    assert abs(float(fold(at(ghost)).detach()) - ghost) < 0.01
    assert certify(fold, at(ghost), method=method).status == "failed"


@pytest.mark.parametrize("method", METHODS)
def test_a_saddle_is_certified_and_has_no_basin(method: str):
    low, saddle, high = all_fixed_points(BISTABLE)
    certificate = certify(BISTABLE, at(saddle), method=method)
    assert certificate.status != "failed"
    assert certificate.existence_radius < 1e-13
    assert 0 < certificate.uniqueness_radius < min(saddle - low, high - saddle)
    assert certificate.index == -1
    assert not certificate.is_stable
    assert certificate.basin_radius == 0
    assert "a multiplier is real and above 1" in certificate.reason


@pytest.mark.parametrize("method", METHODS)
def test_instability_without_a_real_multiplier_above_one_is_not_claimed(method: str):
    flip = one_unit(-3.0, 0.0, 1.0, 0.0, "tanh", "identity")
    certificate = certify(flip, at(0.0), method=method)
    assert certificate.status != "failed"
    assert certificate.index == 1
    assert not certificate.is_stable
    assert "instability is not shown" in certificate.reason
    assert "spectral radius is 3 in float64" in certificate.reason


@pytest.mark.parametrize("method", METHODS)
def test_linear_maps_have_the_whole_space_for_a_basin(method: str):
    matrix = torch.tensor([[0.5, 10.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, -0.9]], dtype=torch.float64)
    shift = at(1.0, -2.0, 0.5)
    truth = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - matrix, shift)
    certificate = certify(affine(matrix, shift), truth + 1e-3, method=method)
    distance = 1e-3 * math.sqrt(3)
    assert distance * (1 - 1e-9) <= certificate.existence_radius <= 1.01 * distance
    assert certificate.uniqueness_radius == certificate.basin_radius == math.inf
    # It contracts, though no Euclidean ball does, and no slower than the largest multiplier tells.
    assert torch.linalg.matrix_norm(matrix, 2) > 10
    assert 0.9 <= certificate.contraction < 1
    p = sum(torch.linalg.matrix_power(matrix.T, k) @ torch.linalg.matrix_power(matrix, k) for k in range(400))
    eigenvalues = torch.linalg.eigvalsh(p)
    assert certificate.condition == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=1e-6)
    # sup ||J e||_P^2 / ||e||_P^2 = 1 - 1 / largest eigenvalue of P, by the Lyapunov equation
    assert certificate.contraction == pytest.approx(math.sqrt(1 - 1 / float(eigenvalues[-1])), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("matrix", "index"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], -1),  # here and below det(I - J) has zeros on the diagonal, so rows are exchanged
        ([[1.0, -2.0], [2.0, 1.0]], 1),
        ([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], -1),
        ([[3.0, 0.0], [0.0, 4.0]], 1),
        ([[3.0, 0.0], [0.0, -4.0]], -1),
    ],
)
def test_the_index_is_the_sign_of_the_determinant(method: str, matrix: list[list[float]], index: int):
    jacobian = torch.tensor(matrix, dtype=torch.float64)
    certificate = certify(affine(jacobian), torch.zeros(len(matrix), dtype=torch.float64), method=method)
    assert certificate.status != "failed"
    assert certificate.index == index == torch.linalg.det(torch.eye(len(matrix), dtype=torch.float64) - jacobian).sign()


@pytest.mark.parametrize("method", METHODS)
def test_a_multiplier_of_one_fails(method: str):
    certificate = certify(affine(torch.eye(2, dtype=torch.float64)), at(0.0, 0.0), method=method)
    assert certificate.status == "failed"
    assert "1 is a multiplier" in certificate.reason


@pytest.mark.parametrize("method", METHODS)
def test_units_side_by_side_have_the_bounds_of_the_worst(method: str):
    parts = [one_unit(8.0, 0.5, 7.0, -3.45), one_unit(3.0, 0.2, 2.0, -1.0), one_unit(-4.0, 0.4, 2.0, -1.0)]
    system = DenoisingAutoencoder(3, 3).double()
    for index, part in enumerate(parts):
        for layer, values in ((system.encoder, part.encoder), (system.decoder, part.decoder)):
            layer["weight"].data[index, index] = values["weight"].item()
            layer["bias"].data[index] = values["bias"].item()
    points = [all_fixed_points(part)[0] for part in parts]
    certificate = certify(system, at(*points), method=method)
    multipliers = [abs(derivative(part, point)) for part, point in zip(parts, points, strict=True)]
    assert certificate.contraction == pytest.approx(max(multipliers), abs=1e-9)
    saddle = all_fixed_points(parts[0])[1]
    assert 0.2 * (saddle - points[0]) < certificate.basin_radius < saddle - points[0]
    assert certificate.uniqueness_radius < saddle - points[0]


def test_a_fold_known_by_a_lipschitz_constant_is_estimated_up_to_its_saddle():
    for rate, curvature in ((0.9, 0.5), (0.5, -2.0), (-0.5, 0.25)):
        system = Fold(rate, curvature)
        saddle = (1 - rate) / abs(curvature)
        certificate = certify(system, at(0.0))
        assert certificate.status == "estimated"
        assert certificate.contraction == pytest.approx(abs(rate))
        assert 0.98 * (1 - abs(rate)) / abs(curvature) < certificate.basin_radius < saddle
        assert 0.98 * saddle < certificate.uniqueness_radius < saddle
        refused = certify(system, at(0.0), method="proof")
        assert refused.status == "failed"
        assert "Fold does not name the layers" in refused.reason


def test_a_map_that_knows_nothing_of_its_curvature_fails():
    certificate = certify(Formula(1, torch.cos), at(0.7390851332151607))
    assert certificate.status == "failed"
    assert "Formula knows neither" in certificate.reason


@pytest.mark.parametrize("method", METHODS)
def test_relu_holds_up_to_its_kink(method: str):
    # F(x) = 3 relu(x) - 1: the fixed point 1 / 2 is unstable, and its kink is the only thing that limits it.
    certificate = certify(one_unit(1.0, 0.0, 3.0, -1.0, "relu", "identity"), at(0.5), method=method)
    assert certificate.index == -1
    assert 0.49 < certificate.uniqueness_radius <= 0.5
    # F(x) = 2 relu(x) at its kink: slopes from 0 to 2, one of them 1.
    certificate = certify(one_unit(1.0, 0.0, 2.0, 0.0, "relu", "identity"), at(0.0), method=method)
    assert certificate.status == "failed"
    assert "||I - A (I - S)|| is 2 at the state" in certificate.reason
    # F(x) = relu(x) / 2: no kink matters to a map that contracts on both sides.
    certificate = certify(one_unit(1.0, 0.0, 0.5, 0.0, "relu", "identity"), at(0.0), method=method)
    assert certificate.is_stable
    assert certificate.basin_radius > 0.9 * LARGEST_RADIUS


def test_a_state_too_far_from_the_fixed_point_for_a_basin_says_so():
    matrix = np.array([[0.9, 30.0], [0.0, 0.9]])
    layer = Layer(torch.from_numpy(matrix), at(0.0, 0.0), "tanh")
    certificate = certify(Layers(layer), at(1e-5, 1e-7))
    assert certificate.status == "estimated"
    assert not certificate.is_stable
    assert "three times" in certificate.reason


@pytest.mark.parametrize("arithmetic", [PLAIN, balls()], ids=METHODS)
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "identity"])
def test_secants_stray_no_further_than_their_bound(name: str, arithmetic: Arithmetic):
    generator = np.random.default_rng(1)
    centres = generator.normal(size=300) * 3
    distances = 10 ** generator.uniform(-3, 1, 300)
    function, slope = CURVES[name].function, CURVES[name].derivative
    with arithmetic.context():
        bounds = CURVES[name].stray(arithmetic, arithmetic.exact(centres), arithmetic.exact(distances)).astype(float)
    ends = centres + distances * np.linspace(-1, 1, 201)[:, None]
    starts = centres + (distances - abs(ends - centres)) * generator.uniform(-1, 1, ends.shape)
    apart = abs(ends - starts) > 1e-3 * distances
    secants = (function(ends) - function(starts)) / np.where(apart, ends - starts, 1)
    strays = np.where(apart, abs(secants - slope(centres)), 0).max(axis=0)
    assert (strays <= bounds * (1 + 1e-9) + 1e-9).all()
    if name in ("sigmoid", "tanh"):  # and the bound is sharp where the curve is a parabola
        small = (distances < 0.02) & (abs(abs(centres)) > 0.3) & (abs(centres) < 4)
        assert small.sum() > 20
        assert (strays[small] > 0.8 * bounds[small]).all()


def random_layers(sizes: list[int], names: list[str], scale: float) -> Layers:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Layers(
        *(
            Layer(normal(outputs, inputs) * scale / inputs**0.5, normal(outputs), name)
            for (inputs, outputs), name in zip(pairwise(sizes), names, strict=True)
        )
    )


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ([5, 9, 5], ["sigmoid", "sigmoid"]),
        ([5, 3, 5], ["tanh", "identity"]),
        ([4, 6, 5, 4], ["tanh", "sigmoid", "tanh"]),
        ([4, 6, 5, 4], ["tanh", "identity", "tanh"]),
        ([4, 6, 5, 7, 4], ["relu", "tanh", "sigmoid", "tanh"]),
    ],
)
def test_slopes_stay_within_the_bound_of_their_spread(sizes: list[int], names: list[str]):
    system = random_layers(sizes, names, 2.0)
    generator = np.random.default_rng(3)
    state = torch.from_numpy(generator.normal(size=sizes[0]))
    left, right = generator.normal(size=(2, sizes[0], sizes[0]))
    slopes = LayeredSlopes(system.layers(), state, PLAIN)
    np.testing.assert_allclose(slopes.jacobian, system.jacobian(state[None])[0].numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slopes.defect, (system(state[None])[0] - state).numpy(), atol=1e-14)
    base = left @ slopes.jacobian @ right
    spread = slopes.spread(base, left, right)
    shares = spread.first_guess()[1]
    exact = balls()
    for radius in (1e-3, 0.03, 0.3):
        shares = spread.rebalance(radius, shares)
        bound = float(spread.bound(radius, shares))
        worst = 0.0
        for _ in range(300):
            away = generator.normal(size=sizes[0])
            away = torch.from_numpy(right @ (away * radius / np.linalg.norm(away)))
            matrix = np.eye(sizes[0])  # of slopes between the state and the other, layer by layer
            a, b = state, state + away
            for layer in system.layers():
                u, v = layer.weight @ a + layer.bias, layer.weight @ b + layer.bias
                a, b = (
                    Layers(layer._replace(weight=torch.eye(len(u), dtype=u.dtype), bias=0 * u))(w[None])[0]
                    for w in (u, v)
                )
                matrix = ((b - a) / (v - u)).numpy()[:, None] * layer.weight.numpy() @ matrix
            worst = max(worst, float(np.linalg.norm(left @ matrix @ right, 2)))
        assert worst <= bound * (1 + 1e-6)
        if radius == 1e-3:
            assert bound < 1.1 * worst
        with exact.context():
            in_balls = LayeredSlopes(system.layers(), state, exact).spread(
                exact.exact(base), exact.exact(left), exact.exact(right), scales=spread.scales
            )
            assert float(in_balls.bound(radius, shares)) == pytest.approx(bound, rel=1e-9)


def test_norms_in_balls_enclose_the_true_ones():
    exact = balls()
    generator = np.random.default_rng(4)
    q = np.linalg.qr(generator.normal(size=(40, 40)))[0]
    matrix = (q * np.linspace(0, 3, 40)) @ q.T
    with exact.context():
        norm = float(exact.spectral_norm(exact.exact(matrix)[:, :30]))
        wide = exact.exact(matrix)[:30] * exact.exact(np.ones(1))[0].__class__("1 +/- 0.01")
        product = exact.product(exact.exact(matrix), exact.exact(q))
        third = exact.exact(np.array([1.0]))[0] / 3
        assert exact.below(third) < 1 / 3 + 1e-16
        assert exact.below(third) * 3 < 1 < exact.above(third) * 3 + 1e-15
        # a matrix known to a hundredth only: its norm may be that of any in between
        assert float(exact.spectral_norm(wide)) >= 1.01 * np.linalg.norm(matrix[:30], 2) * (1 - 1e-12)
    truth = np.linalg.norm(matrix[:, :30], 2)
    assert truth * (1 - 1e-14) <= norm <= truth * (1 + 1e-9)
    np.testing.assert_allclose(product.astype(float), matrix @ q, atol=1e-13)
    # 1 + 2^-60 + ... is beyond float64, and a product of balls must hold it
    with exact.context():
        entry = exact.product(exact.exact(np.array([[1.0, 2.0**-30]])), exact.exact(np.array([[1.0], [2.0**-30]])))[
            0, 0
        ]
        assert entry > 1


def test_attractors_of_the_digits(digits_dae: DenoisingAutoencoder, digits_test: Dataset, device: torch.device):
    system = float64_copy(digits_dae).to(device)
    points = iterate(digits_dae, digits_test.images[:60]).fixed_points[:6]
    generator = torch.Generator().manual_seed(5)
    for point in points:
        state = point.state.to(device)
        proof, estimate = (certify(digits_dae.to(device), state, method=method) for method in ("proof", "estimate"))
        assert proof.status == "proved"
        assert proof.is_stable
        assert proof.existence_radius < 1e-13
        for name in ("uniqueness_radius", "contraction", "basin_radius", "condition"):
            assert getattr(proof, name) == pytest.approx(getattr(estimate, name), rel=0.01), name
        assert proof.contraction >= float(torch.linalg.eigvals(system.jacobian(state[None])[0].cpu()).abs().max())
        assert proof.basin_radius > 1e-3
        assert proof.uniqueness_radius >= proof.basin_radius
        starts = torch.randn(200, system.dim, generator=generator, dtype=torch.float64).to(device)
        leading = torch.linalg.eig(system.jacobian(state[None])[0].cpu())[1].real.T[:20].to(device)
        starts = torch.cat([starts, leading, -leading])
        states = state + proof.basin_radius * starts / starts.norm(dim=1, keepdim=True)
        for _ in range(2000):
            states = system(states).detach()
        assert (states - state).norm(dim=1).max() < 1e-10


def test_a_tampered_attractor_of_the_digits(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    truth = iterate(digits_dae, digits_test.images[:1]).fixed_points[0].state
    whole = certify(digits_dae, truth, method="proof")
    away = torch.randn(len(truth), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    for distance in (1e-6, 1e-3, 0.3):
        moved = certify(digits_dae, truth + distance * away / away.norm(), method="proof")
        if distance == 0.3:
            assert moved.status == "failed"
        else:
            assert moved.status == "proved"
            assert distance * (1 - 1e-9) <= moved.existence_radius < 2 * distance
            assert moved.basin_radius < whole.basin_radius
            assert moved.contraction >= whole.contraction
    # A weight that moved is another map, whose fixed point is elsewhere.
    other = float64_copy(digits_dae)
    other.decoder["bias"].data[20] += 1e-3
    changed = certify(other, truth, method="proof")
    found = newton(other, truth).state
    assert changed.existence_radius >= float((found - truth).norm()) > 1e-5


def test_saddles_of_the_digits(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    exact = float64_copy(digits_dae)
    points = [point.state for point in iterate(digits_dae, digits_test.images[:60]).fixed_points[:8]]
    seen = 0
    for a in points:
        for b in points:
            solution = newton(exact, (a + b) / 2)
            if not solution.is_fixed_point:
                continue
            multipliers = torch.linalg.eigvals(exact.jacobian(solution.state[None])[0])
            above = int(((multipliers.imag == 0) & (multipliers.real > 1)).sum())
            if above != 1 or seen == 3:
                continue
            seen += 1
            certificate = certify(digits_dae, solution.state, method="proof")
            assert certificate.status == "proved"
            assert certificate.index == -1
            assert not certificate.is_stable
            nearest = min(float((solution.state - other).norm()) for other in points)
            assert 0 < certificate.uniqueness_radius < nearest
    assert seen


def test_a_missing_python_flint_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(InputError, match=r"pip install 'dynlab\[certificates\]'"):
        certify(BISTABLE, at(0.0), method="proof")
    assert certify(BISTABLE, at(all_fixed_points(BISTABLE)[0])).status == "estimated"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="method is 'guess', expected one of estimate, proof"):
        certify(BISTABLE, at(0.0), method="guess")
    with pytest.raises(ValueError, match=r"state has shape \(2,\), expected \(1,\)"):
        certify(BISTABLE, at(0.0, 0.0))
    with pytest.raises(ValueError, match="state is not finite"):
        certify(BISTABLE, at(math.nan))


def test_certificates_cannot_be_altered():
    certificate = certify(BISTABLE, at(all_fixed_points(BISTABLE)[0]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        certificate.basin_radius = 1.0  # pyright: ignore[reportAttributeAccessIssue]
