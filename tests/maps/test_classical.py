"""Classical maps: what they say of themselves against torch.func, brute force, iteration and pynamicalsys."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.dynamics import CertificateStatus, Status, certify, iterate
from dynlab.maps import Map, float64_copy, map_hash
from dynlab.maps.classical import (
    CubeRootNewton,
    DoubleWell,
    GaussianDenoiser,
    Henon,
    Hopfield,
    Ikeda,
    Linear,
    Logistic,
    OptimalDenoiser,
)

from systems import jacobians, second_opinion


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def signs(count: int, dim: int, seed: int = 0) -> Tensor:
    return normal(count, dim, seed=seed).sign()


def gaussian_denoiser(sigma: float = 0.7) -> GaussianDenoiser:
    factor = normal(4, 3, seed=8)  # rank 3: one variance is zero
    return GaussianDenoiser(normal(4, seed=9), factor @ factor.T, sigma)


def with_fixed_points() -> list[Map]:
    return [
        Logistic(0.0),
        Logistic(-1.5),
        Logistic(3.7),
        Henon(),
        Henon(-0.1, 0.3),
        Henon(0.5, -0.9),
        Ikeda(),
        Ikeda(0.6),
        Ikeda(0.95, 1.0, 9.0),
        DoubleWell(),
        DoubleWell(0.5),
        CubeRootNewton(),
        Linear(normal(5, 5), normal(5, seed=1)),
        Linear.random([0.9, 0.5 + 0.3j, 0.5 - 0.3j, -0.2], departure=1.5),
        Hopfield(signs(3, 20), 1.01),
        Hopfield(signs(3, 20), 3.0),
        Hopfield(signs(3, 20), 0.8),
        gaussian_denoiser(),
    ]


def everything() -> list[Map]:
    return [*with_fixed_points(), OptimalDenoiser(normal(6, 3), 0.8)]


def name(system: Map) -> str:
    return str(system).splitlines()[0]


@pytest.mark.parametrize("system", with_fixed_points(), ids=name)
def test_fixed_points_are_fixed_and_have_the_multipliers_stated(system, device: torch.device):
    points = system.fixed_points().to(device)
    system = system.to(device)
    assert points.dtype == torch.float64
    assert (system(points) - points).abs().max() < 1e-13 * (1 + points.abs().max())
    found = torch.linalg.eigvals(jacobians(system, points)).cpu()
    stated = system.multipliers().cpu()
    assert stated.shape == found.shape
    assert (stated.abs().diff(dim=1) <= 1e-15).all()
    for ours, theirs in zip(stated, found, strict=True):
        distances = (ours[:, None] - theirs[None]).abs()
        assert distances.min(dim=0).values.max() < 1e-7
        assert distances.min(dim=1).values.max() < 1e-7


@pytest.mark.parametrize("system", everything(), ids=name)
def test_derivatives_by_torch_func_equal_central_differences(system: Map, device: torch.device):
    states = (0.5 * normal(4, system.dim, seed=3) + 0.7).to(device)
    tangents = normal(4, system.dim, seed=4).to(device)
    system = system.to(device)
    expected = jacobians(system, states)
    torch.testing.assert_close(system.jacobian(states), expected, rtol=1e-6, atol=1e-7)
    jvp, vjp = system.jvp(states, tangents), system.vjp(states, tangents)
    torch.testing.assert_close(jvp, torch.einsum("bij,bj->bi", expected, tangents), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(vjp, torch.einsum("bij,bi->bj", expected, tangents), rtol=1e-6, atol=1e-7)
    one_by_one = torch.func.vmap(lambda state: system(state[None])[0])(states)
    torch.testing.assert_close(one_by_one, system(states), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("system", everything(), ids=name)
def test_states_keep_their_dtype(system: Map, device: torch.device):
    states = (0.5 * normal(4, system.dim, seed=3) + 0.7).to(device)
    system = system.to(device)
    image = system(states)
    assert image.dtype == torch.float64
    assert system(states.float()).dtype == torch.float32
    assert system.jacobian(states.float()).dtype == torch.float32
    torch.testing.assert_close(system(states.float()).double(), image, rtol=1e-5, atol=1e-5)
    assert torch.equal(float64_copy(system)(states), image)


def test_maps_of_one_dtype_are_made_of_data_of_one_dtype():
    matrix, points = 0.5 * normal(2, 2).float(), normal(3, 2).float()
    for system in (Linear(matrix), OptimalDenoiser(points, 1.0)):
        assert {buffer.dtype for buffer in system.buffers()} == {torch.float32}
        states = normal(3, 2, seed=1)
        assert torch.equal(float64_copy(system)(states), system(states))


def test_data_are_copied():
    matrix, points, patterns = torch.eye(2).double(), normal(3, 2), signs(2, 8)
    for system, data in [
        (Linear(matrix, matrix[0]), matrix),
        (OptimalDenoiser(points, 1.0), points),
        (Hopfield(patterns), patterns),
    ]:
        before = map_hash(system)
        data.zero_()
        assert map_hash(system) == before


def test_hash_tells_other_parameters_apart():
    identity, patterns, points = torch.eye(2).double(), signs(2, 8), normal(3, 2)
    factories: list[Callable[[], Map]] = [
        lambda: Logistic(3.2),
        lambda: Logistic(math.nextafter(3.2, 4)),
        lambda: Henon(),
        lambda: Henon(b=0.31),
        lambda: Henon(a=1.41),
        lambda: Ikeda(),
        lambda: Ikeda(u=0.8),
        lambda: Ikeda(phase=0.5),
        lambda: Ikeda(coupling=7.0),
        lambda: DoubleWell(),
        lambda: DoubleWell(0.2),
        lambda: CubeRootNewton(),
        lambda: Linear(identity),
        lambda: Linear(identity, identity[0]),
        lambda: Linear(2 * identity),
        lambda: Linear.random([0.9, 0.5]),
        lambda: Linear.random([0.9, 0.5], seed=1),
        lambda: Linear.random([0.9, 0.5], departure=1.0),
        lambda: Hopfield(patterns),
        lambda: Hopfield(patterns, 3.0),
        lambda: Hopfield(patterns.roll(1, dims=1)),
        lambda: OptimalDenoiser(points, 1.0),
        lambda: OptimalDenoiser(points, 1.1),
        lambda: OptimalDenoiser(2 * points, 1.0),
        lambda: GaussianDenoiser(points[0], identity, 1.0),
        lambda: GaussianDenoiser(points[1], identity, 1.0),
        lambda: GaussianDenoiser(points[0], identity, 1.1),
        lambda: GaussianDenoiser(points[0], 2 * identity, 1.0),
    ]
    hashes = [map_hash(factory()) for factory in factories]
    assert len(set(hashes)) == len(hashes)
    assert [map_hash(factory()) for factory in factories] == hashes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Logistic(math.nan), "r is nan, expected a finite number"),
        (lambda: Henon(a=0.0), "a is 0.0, expected another number"),
        (lambda: Henon(b=math.inf), "b is inf, expected a finite number"),
        (lambda: Ikeda(u=1.0), "u is 1.0, expected between 0 and 1"),
        (lambda: DoubleWell(0.6), "step is 0.6, expected above 0 and at most 0.5"),
        (lambda: Linear(torch.zeros(2, 3)), r"matrix has shape \(2, 3\), expected \(dim, dim\)"),
        (lambda: Linear(torch.eye(2), torch.zeros(3)), r"shift has shape \(3,\), expected \(2,\)"),
        (lambda: Linear.random([]), "multipliers is empty, expected at least one"),
        (lambda: Linear.random([0.5, 1j]), r"multipliers has 1j at 1, expected its conjugate behind it"),
        (lambda: Linear.random([1j, 0.5, -1j]), r"multipliers has 1j at 0, expected its conjugate behind it"),
        (lambda: Linear.random([0.5], departure=-1.0), "departure is -1.0, expected at least 0"),
        (lambda: Linear.random([1j, -1j], departure=1.0), "departure is 1.0, expected 0: no entry is left"),
        (lambda: Hopfield(torch.zeros(2, 8)), "expected .* entries -1 and 1"),
        (lambda: Hopfield(torch.ones(2, 8)), "patterns has 2 rows of rank 1, expected linearly independent ones"),
        (lambda: Hopfield(signs(2, 8), 0.0), "gain is 0.0, expected a finite number above 0"),
        (lambda: OptimalDenoiser(torch.zeros(0, 2), 1.0), r"points has shape \(0, 2\), expected"),
        (lambda: OptimalDenoiser(torch.full((1, 2), math.nan), 1.0), "expected .* finite entries"),
        (lambda: OptimalDenoiser(torch.zeros(1, 2), 0.0), "sigma is 0.0, expected a finite number above 0"),
        (
            lambda: GaussianDenoiser(torch.zeros(2), -torch.eye(2), 1.0),
            "expected a symmetric and positive semidefinite",
        ),
        (lambda: GaussianDenoiser(torch.zeros(2), torch.ones(2, 2).triu(), 1.0), "expected a symmetric"),
        (
            lambda: GaussianDenoiser(torch.zeros(3), torch.eye(2), 1.0),
            r"covariance has shape \(2, 2\), expected \(3, 3\)",
        ),
        (lambda: Logistic(2.9).two_cycle(), "r is 2.9, expected below -1 or above 3"),
        (lambda: Henon(0.36, 0.3).two_cycle(), "a is 0.36, expected above 0.3675"),
        (lambda: Logistic(3.7).lyapunov_exponents(), "r is 3.7, expected 4, or from 0 to"),
    ],
)
def test_refuses_what_is_no_such_map(make: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("r", [-1.2, 3.3, 3.9])
def test_logistic_cycle_of_period_two(r: float):
    system = Logistic(r)
    cycle = system.two_cycle()
    torch.testing.assert_close(system(cycle), cycle.flip(0), rtol=1e-13, atol=1e-14)
    assert (cycle[0] - cycle[1]).abs() > 0.1
    assert float(system.jacobian(cycle).prod()) == pytest.approx(4 + 2 * r - r * r, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1.4, 0.3), (0.9, 0.3), (2.0, -0.5)])
def test_henon_cycle_of_period_two(a: float, b: float):
    system = Henon(a, b)
    cycle = system.two_cycle()
    torch.testing.assert_close(system(cycle), cycle.flip(0), rtol=1e-13, atol=1e-14)
    assert (cycle[0] - cycle[1]).norm() > 0.1
    first, second = system.jacobian(cycle)
    product = second @ first
    assert float(product.trace()) == pytest.approx(4 * a * a * float(cycle[:, 0].prod()) + 2 * b, abs=1e-12)
    assert float(torch.linalg.det(product)) == pytest.approx(b * b, abs=1e-12)


def test_henon_maps_the_quadrilateral_into_itself():
    corners = torch.tensor([[-1.33, 0.42], [1.32, 0.133], [1.245, -0.14], [-1.06, -0.5]], dtype=torch.float64)
    share = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    border = torch.cat([corners[i] + share * (corners[(i + 1) % 4] - corners[i]) for i in range(4)])
    image = Henon()(border)  # the border's image bounds the image, since the map is a homeomorphism
    for corner, following in zip(corners, corners.roll(-1, dims=0), strict=True):
        side, offset = following - corner, image - corner
        assert (side[0] * offset[:, 1] - side[1] * offset[:, 0] < 0).all()


@pytest.mark.parametrize("system", [Henon(), Henon(1.2, -0.4), Ikeda(), Ikeda(0.7, 0.1, 8.0)], ids=name)
def test_areas_shrink_alike_everywhere(system: Henon | Ikeda):
    determinants = torch.linalg.det(system.jacobian(2 * normal(50, 2)))
    torch.testing.assert_close(determinants.abs().log(), torch.full_like(determinants, system.lyapunov_sum()))


@pytest.mark.parametrize("u", [0.3, 0.6, 0.75, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("coupling", [3.0, 6.0, 20.0])
def test_fixed_points_of_ikeda_are_all_of_them(u: float, coupling: float):
    system = Ikeda(u, coupling=coupling)
    points = system.fixed_points()
    assert (points.norm(dim=1) < 1 / (1 - u)).all()
    assert (points.norm(dim=1).diff() > 0).all()
    # The disc is mapped into itself, so the signs of det(I - J) over all fixed points add up to 1.
    assert int(torch.linalg.det(torch.eye(2).double() - system.jacobian(points)).sign().sum()) == 1
    # What Newton's method finds from anywhere is among them.
    states = normal(300, 2) / (1 - u) / 2
    for _ in range(40):
        steps = torch.linalg.solve(torch.eye(2).double() - system.jacobian(states), system(states) - states)
        states = states + steps
    found = states[(system(states) - states).norm(dim=1) < 1e-12]
    assert len(found) > 50
    assert torch.cdist(found, points, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values.max() < 1e-9


@pytest.mark.parametrize("step", [0.05, 0.1, 0.5])
def test_basins_of_the_double_well_are_where_orbits_go(step: float, device: torch.device):
    system = DoubleWell(step)
    share = torch.arange(-50, 51, dtype=torch.float64, device=device) / 50  # with the y axis itself
    states = torch.cartesian_prod(0.9999 * system.reach * share, 3 * share)
    basins = system.basins(states)
    assert basins.unique().tolist() == [0, 1, 2]
    end = states
    for _ in range(1000):
        end = system(end)
    torch.testing.assert_close(end, system.fixed_points().to(device)[basins], rtol=0.0, atol=1e-12)
    beyond = torch.tensor([[1.001 * system.reach, 0.0], [-1.001 * system.reach, 1.0]], dtype=torch.float64)
    assert system.basins(beyond).tolist() == [-1, -1]
    assert (system(beyond)[:, 0] * beyond[:, 0] < 0).all()  # over the y axis in one step


def roots_reached(states: Tensor) -> Tensor:
    system = CubeRootNewton()
    for _ in range(200):
        states = system(states)
    distances = torch.cdist(
        states, system.fixed_points().to(states.device), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert distances.min(dim=1).values.max() < 1e-12
    return distances.argmin(dim=1)


def test_basins_of_the_cube_roots(device: torch.device):
    roots = CubeRootNewton().fixed_points().to(device)
    complex_roots = torch.view_as_complex(roots)
    torch.testing.assert_close(complex_roots**3, torch.ones_like(complex_roots))
    radii = torch.logspace(-3, 3, 100, dtype=torch.float64, device=device)
    inside = (0.333 * normal(100, 2) / normal(100, 2).norm(dim=1, keepdim=True).clamp(min=1e-3)).to(device)
    inside = inside * (0.333 / inside.norm(dim=1, keepdim=True)).clamp(max=1)
    for index, root in enumerate(roots):
        assert (roots_reached(radii[:, None] * root) == index).all()
        assert (roots_reached(root + inside) == index).all()
    states = torch.view_as_complex(normal(2000, 2).to(device))
    turned = torch.view_as_real(states * complex_roots[1])
    assert torch.equal(roots_reached(turned), (roots_reached(torch.view_as_real(states)) + 1) % 3)


def test_cycles_on_the_basin_boundary_have_multiplier_six():
    system = CubeRootNewton()
    cycles = system.two_cycles()
    assert cycles.shape == (3, 2, 2)
    for cycle in cycles:
        torch.testing.assert_close(system(cycle), cycle.flip(0), rtol=0.0, atol=1e-14)
        first, second = system.jacobian(cycle)
        torch.testing.assert_close(second @ first, 6 * torch.eye(2).double(), rtol=1e-12, atol=1e-12)
    assert torch.pdist(cycles.flatten(0, 1)).min() > 0.1


MULTIPLIERS = [0.95, 0.5 + 0.4j, 0.5 - 0.4j, -0.6, 0.1]


@pytest.mark.parametrize("departure", [0.0, 0.5, 5.0])
def test_random_linear_maps_have_what_they_were_made_of(departure: float):
    matrix = Linear.random(MULTIPLIERS, departure=departure, seed=3).matrix
    found = np.sort_complex(np.linalg.eigvals(matrix.numpy()))
    np.testing.assert_allclose(found, np.sort_complex(np.array(MULTIPLIERS)), atol=1e-9)
    squares = float(matrix.square().sum()) - sum(abs(value) ** 2 for value in MULTIPLIERS)
    assert math.sqrt(max(squares, 0.0)) == pytest.approx(departure, abs=1e-7)
    commutator = matrix @ matrix.T - matrix.T @ matrix
    assert bool(commutator.abs().max() < 1e-14) == (departure == 0)


def test_projection_stores_any_patterns(device: torch.device):
    patterns = signs(4, 30)
    assert (patterns @ patterns.T).abs().triu(1).max() > 5  # far from orthogonal, where Hebb's rule would fail
    system = Hopfield(patterns.to(device), gain=2.0)
    noisy = torch.cat([patterns, -patterns]) + 0.3 * normal(8, 30)
    orbits = iterate(system, noisy.to(device))
    assert set(orbits.status) == {Status.CONVERGED}
    torch.testing.assert_close(orbits.states, system.fixed_points()[1:].cpu(), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.0001, 1.5, 4.0, 30.0])
def test_overlap_solves_its_equation(gain: float):
    low, high = 1e-3, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.tanh(gain * middle) > middle else (low, middle)
    assert Hopfield(signs(1, 4), gain).overlap == pytest.approx(high if gain > 1 else 0.0, abs=1e-10)


def test_energy_of_the_network_falls_and_multipliers_are_real():
    system = Hopfield(signs(3, 20), gain=1.7)
    states = normal(50, 20).tanh()

    def energy(x: Tensor) -> Tensor:
        projected = (x @ system.patterns.T) @ system.dual.T
        return (x * (x.atanh() / system.gain - projected / 2) + (1 - x * x).log() / (2 * system.gain)).sum(1)

    for _ in range(30):
        following = system(states)
        assert (energy(following) <= energy(states) + 1e-12).all()
        states = following
    assert torch.linalg.eigvals(system.jacobian(normal(10, 20))).imag.abs().max() < 1e-7


def test_optimal_denoiser_is_the_mean_of_the_clean_sample(device: torch.device):
    points, states, sigma = normal(7, 3), 1.5 * normal(5, 3, seed=1), 0.6
    system = OptimalDenoiser(points.to(device), sigma)
    density = torch.distributions.Normal(torch.zeros(()).double(), sigma)
    log_joint = density.log_prob(states[:, None] - points).sum(2) - math.log(len(points))
    expected = torch.einsum("bi,id->bd", log_joint.exp(), points) / log_joint.exp().sum(1, keepdim=True)
    torch.testing.assert_close(system(states.to(device)).cpu(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(system.log_density(states.to(device)).cpu(), log_joint.logsumexp(1))
    moved = states.clone().requires_grad_()
    (density.log_prob(moved[:, None] - points).sum(2).logsumexp(1)).sum().backward()
    torch.testing.assert_close(system.score(states.to(device)).cpu(), moved.grad, rtol=1e-12, atol=1e-12)


def test_optimal_denoiser_does_not_depend_on_the_origin():
    points, states, shift = normal(7, 3), normal(5, 3, seed=1), 1e5
    expected = OptimalDenoiser(points, 0.3)(states)
    torch.testing.assert_close(
        OptimalDenoiser(points + shift, 0.3)(states + shift) - shift, expected, rtol=0, atol=1e-8
    )


def test_optimal_denoiser_of_two_samples_has_the_fixed_points_of_a_tanh(device: torch.device):
    # x = m a with m = tanh(m |a|^2 / sigma^2), the equation of a network that stores one pattern
    sample, sigma = torch.tensor([0.6, 0.8], dtype=torch.float64, device=device), 0.8
    system = OptimalDenoiser(torch.stack([sample, -sample]), sigma)
    gain = 1 / sigma**2
    overlap = Hopfield(signs(1, 4), gain).overlap
    orbits = iterate(system, torch.stack([0.1 * sample, -0.1 * sample + sample.flip(0) * sample.new_tensor([2, -2])]))
    torch.testing.assert_close(orbits.states, overlap * torch.stack([sample, -sample]).cpu(), rtol=0.0, atol=1e-11)
    slopes = torch.linalg.eigvalsh(system.jacobian(torch.stack([0 * sample, overlap * sample])))
    expected = [[0.0, gain], [0.0, gain * (1 - overlap**2)]]
    torch.testing.assert_close(slopes.cpu(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_optimal_denoiser_climbs_the_density_and_has_multipliers_of_a_covariance():
    system = OptimalDenoiser(normal(12, 4), 0.5)
    states = 2 * normal(40, 4, seed=5)
    jacobian = system.jacobian(states)
    torch.testing.assert_close(jacobian, jacobian.mT, rtol=0.0, atol=1e-13)
    assert torch.linalg.eigvalsh(jacobian).min() > -1e-13
    for _ in range(50):
        following = system(states)
        assert (system.log_density(following) >= system.log_density(states) - 1e-12).all()
        states = following


@pytest.mark.parametrize("sigma", [0.2, 0.7, 3.0])
def test_gaussian_denoiser_has_the_score_of_the_smoothed_gaussian(sigma: float, device: torch.device):
    factor, mean = normal(4, 3, seed=8), normal(4, seed=9)
    covariance = factor @ factor.T
    system = GaussianDenoiser(mean, covariance, sigma).to(device)
    smoothed = torch.distributions.MultivariateNormal(mean, covariance + sigma**2 * torch.eye(4).double())
    states = normal(6, 4).requires_grad_()
    smoothed.log_prob(states).sum().backward()
    assert states.grad is not None
    found = system(states.detach().to(device)).cpu()
    torch.testing.assert_close(found, states.detach() + sigma**2 * states.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(system.score(states.detach().to(device)).cpu(), states.grad, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(system.fixed_points().cpu(), mean[None], rtol=1e-12, atol=1e-12)
    variances = torch.linalg.eigvalsh(covariance).flip(0)
    expected = variances / (variances + sigma**2)
    torch.testing.assert_close(system.multipliers()[0].real.cpu(), expected, rtol=1e-12, atol=1e-12)


def test_variances_that_rounding_made_negative_are_zero():
    covariance = torch.diag(torch.tensor([1.0, -1e-7], dtype=torch.float64))
    system = GaussianDenoiser(torch.zeros(2), covariance, 1e-5)
    assert system.multipliers()[0].real.tolist() == pytest.approx([1.0, 0.0], abs=1e-9)


def test_optimal_denoiser_of_many_gaussian_samples_nears_the_gaussian_one():
    covariance = torch.tensor([[1.0, 0.5], [0.5, 0.75]], dtype=torch.float64)
    points = normal(40_000, 2) @ torch.linalg.cholesky(covariance).T
    states = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
    found, expected = OptimalDenoiser(points, 1.0)(states), GaussianDenoiser(states[0], covariance, 1.0)(states)
    # A weighted mean of samples scatters by about 1 / sqrt(their number, of which some 30% carry weight).
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.04)
    assert (found - states).norm() > 0.9


def test_second_opinion_on_periodic_orbits():
    second = second_opinion()
    henon = second(model="henon map")
    settings = {"parameters": [1.4, 0.3], "convergence_threshold": 1e-13}
    for period, expected in [(1, Henon().fixed_points()[0]), (2, Henon().two_cycle()[0])]:
        found = henon.find_periodic_orbit((expected + 0.01).tolist(), period, prime_period=True, **settings)
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-12)
    found = henon.classify_stability(Henon().fixed_points()[0].tolist(), 1, parameters=[1.4, 0.3])
    assert found["classification"] == "saddle"
    np.testing.assert_allclose(found["eigenvalues"], Henon().multipliers()[0].numpy(), rtol=1e-12)
    logistic = second(model="logistic map")
    for r, period in [(2.5, 1), (3.2, 2), (3.5, 4), (3.55, 8), (3.83, 3)]:
        assert logistic.period([0.3], parameters=[r], transient_time=2000) == period
        assert iterate(Logistic(r), torch.tensor([[0.3]]), max_steps=2000).period.tolist() == [period]


@pytest.mark.parametrize("system", [Logistic(3.2), Logistic(-1.5), Henon()])
def test_jacobians_change_no_faster_than_their_lipschitz_constants_say(system: Map):
    generator = torch.Generator().manual_seed(0)
    ones, others = torch.randn(2, 500, system.dim, generator=generator, dtype=torch.float64)
    change = torch.linalg.matrix_norm(system.jacobian(ones) - system.jacobian(others), ord=2)
    distance = torch.linalg.vector_norm(ones - others, dim=1)
    constant = system.jacobian_lipschitz(ones[0], 10.0)
    assert constant is not None
    assert float((change / distance).max()) == pytest.approx(constant, rel=0.05)
    assert bool((change <= constant * distance * (1 + 1e-12)).all())


def test_linear_maps_and_logistic_ones_are_certified():
    proved = certify(Linear.random([0.9, -0.5, 0.1]), torch.zeros(3, dtype=torch.float64), method="proof")
    assert proved.status is CertificateStatus.PROVED
    assert proved.is_stable
    system = Logistic(2.5)
    stable = system.fixed_points()[1]
    estimated = certify(system, stable)
    assert estimated.status is CertificateStatus.ESTIMATED
    # the basin of 1 - 1/r ends at 0, the nearest repelling point
    assert 0.1 < estimated.basin_radius < float(stable)
