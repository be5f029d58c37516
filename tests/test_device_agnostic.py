"""The library on a second device, compared with itself on the CPU; and what that second device refuses.

Without a GPU the second device is the emulated one of `other_device`. What is shown: tensors that meet are on one
device, or may meet on CUDA all the same; results come back where they are said to; a map is computed on its own device
and nowhere else; and the numbers are those of the CPU, up to the rounding of products of other sizes.

What is not shown: anything about a GPU's arithmetic, speed and memory, about streams and graphs, or about code that
asks whether a device is CUDA, which is not met here. With a GPU the same tests run on that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dynlab as dl
from dynlab.cli.map_argument import map_on
from dynlab.datasets import Dataset
from dynlab.dynamics import newton
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.spectra import spectrum
from dynlab.errors import InputError
from dynlab.evaluation.arrays import Arrays
from dynlab.evaluation.films import film_states
from dynlab.evaluation.recognizer import networks
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy, map_hash
from dynlab.maps.classical import Henon, Logistic
from dynlab.training import reconstruction_errors, train_on_dataset

from other_device import emulated_device, host_waits
from systems import Formula, Linear, two_cycles

# Before any test takes a gradient: autograd counts the devices there are only once.
emulated_device()

# Relative differences of float32 numbers rounded differently a few times, the same after many steps of a map, and of
# fixed points and what is computed at them in float64.
SINGLE, ITERATED, DOUBLE = 1e-5, 1e-4, 1e-8


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu) if torch.cuda.is_available() else "emulated"])
def other(request: pytest.FixtureRequest) -> torch.device:
    """A device that is not the CPU."""
    return emulated_device() if request.param == "emulated" else torch.device("cuda")


only_emulated = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is at hand, and waits are only emulated")


def _assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance / 10, equal_nan=True)


# What the second device refuses, and what it permits


MISTAKES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda here, there: here + there,
    "sum the other way round": lambda here, there: there + here,
    "number of the device for the CPU": lambda here, there: here * there.sum(),
    "number of the CPU changed by the device": lambda here, there: here.sum().add_(there.sum()),
    "product": lambda here, there: there @ here.T,
    "linear layer": lambda here, there: F.linear(there, there, here[:, 0]),
    "distances": lambda here, there: torch.cdist(there, here),
    "choice": lambda here, there: torch.where(here > 0, there, 0.0),
    "joined": lambda here, there: torch.cat([there, here]),
    "stacked": lambda here, there: torch.stack([here, there]),
    "gathered by indices of the CPU": lambda here, there: there.gather(1, here.argsort(dim=1)),
    "rows chosen by indices of the CPU": lambda here, there: there.index_select(0, here[:, 0].argsort()),
    "indexed by the device": lambda here, there: here[there[:, 0].argsort()],
    "masked values of the CPU": lambda here, there: there.masked_fill(here > 0, 0.0),
    "rows set to values of the CPU": lambda here, there: there.index_put_((there[:, 0].argsort(),), here),
    "result on the CPU": lambda here, there: torch.add(there, there, out=torch.empty_like(here)),
    "result on the device": lambda here, there: torch.mm(here, here.T, out=there.new_empty(3, 3)),
    "loss": lambda here, there: F.cross_entropy(there, here[:, 0].argsort()),
    "derivative along a tangent of the CPU": lambda here, there: torch.func.jvp(torch.sin, (there,), (here,)),
    "random numbers": lambda here, there: torch.randn(3, device=there.device, generator=torch.Generator()),
    "random numbers in place": lambda here, there: there.normal_(generator=torch.Generator()),
    "numpy": lambda here, there: there.numpy(),
    "numpy by a conversion": lambda here, there: np.asarray(there),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake: str, other: torch.device):
    here = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.1, 2.5, -0.3, 1.5], [2.0, 0.2, 0.4, -1.0]])
    with pytest.raises((RuntimeError, TypeError)):
        MISTAKES[mistake](here, here.to(other))
    MISTAKES[mistake](here, here.clone())  # where nothing is wrong but the device


def _indexed(x: Tensor, numbers: Tensor) -> Tensor:
    y = x.clone()
    y[torch.tensor([0, 2])] = y[np.array([1, 0])] * numbers[0]
    y[1] = torch.arange(4.0)  # a copy
    y[y > 2] = numbers[1]
    return y[:, torch.tensor([True, False, True, True])]


def _view_changed(x: Tensor, _: Tensor) -> Tensor:
    y = x.clone()
    y.view(-1)[3:7].mul_(2).t_()
    return y.t()


def _loss_gradient(x: Tensor, _: Tensor) -> Tensor:
    weight = torch.linspace(-1, 1, 18).view(2, 1, 3, 3).to(x.device).requires_grad_()
    bias = torch.zeros(2, device=x.device, requires_grad=True)
    values = F.relu(F.conv2d(x[None, None], weight, bias, stride=2, padding=1)).flatten(1)
    F.cross_entropy(values, torch.tensor([1]).to(x.device)).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return torch.cat([weight.grad.flatten(), bias.grad])


def _jacobians(x: Tensor, _: Tensor) -> Tensor:
    layer = torch.nn.Linear(4, 4)
    layer.load_state_dict({"weight": torch.linspace(-1, 1, 16).view(4, 4), "bias": torch.ones(4)})
    moved = copy.deepcopy(layer).to(x.device)
    by_rows = torch.func.vmap(torch.func.jacrev(lambda row: torch.tanh(moved(row))))(x)
    return by_rows + torch.func.vmap(torch.func.jacfwd(lambda row: torch.tanh(moved(row))))(x)


PERMITTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "numbers of the CPU": lambda x, numbers: torch.where(x > numbers[0], x * numbers[1].double(), -1.0),
    "numbers of Python": lambda x, _: x.long() % 3 + 0.5 * (2 ** x.long()) - (x**2 > 1) // 1,
    "deep copies": lambda x, _: copy.deepcopy(x[1:])[0] * copy.deepcopy(x[0, 0]),
    "numbers along a tangent": lambda x, _: torch.func.jvp(lambda y: 1 - y * y % 3, (x,), (x + 1,))[1],
    "indices of the CPU": _indexed,
    "views": _view_changed,
    "conjugated views": lambda x, _: torch.view_as_real(torch.view_as_complex(x.view(3, 2, 2)).conj().T @ (x + 0j)),
    "factorization": lambda x, _: torch.linalg.lu_factor_ex(x[:, :3])[0],
    "eigenvalues": lambda x, _: torch.linalg.eigvals(x[:, :3]).abs().sort().values,
    "a result made larger": lambda x, _: torch.mm(x, x.T, out=x.new_empty(0)),
    "gradient through a convolution": _loss_gradient,
    "jacobians of a module": _jacobians,
}


@pytest.mark.parametrize("operation", PERMITTED)
def test_what_cuda_permits_gives_what_the_cpu_gives(operation: str, other: torch.device):
    x, numbers = torch.linspace(-2, 3, 12).sin().view(3, 4), torch.tensor([0.25, 3.0])
    found = PERMITTED[operation](x.to(other), numbers)
    assert found.device.type == other.type
    _assert_close(found.cpu(), PERMITTED[operation](x, numbers), SINGLE)


@only_emulated
def test_waits_of_the_host_are_counted():
    x = torch.arange(4.0, device=emulated_device())
    host_waits.clear()
    y = (x * 2 + x.flip(0))[torch.tensor([0, 1])]
    assert not host_waits
    assert float(y[0]) == 3.0
    assert bool((x == x).all())
    assert x[x > 1].tolist() == [2.0, 3.0]
    assert host_waits == {"aten::_local_scalar_dense": 2, "aten::nonzero": 1, "copy to the CPU": 1}
    x[x > 1] = 0.0
    assert host_waits.total() == 5


# The library


def moved(system: Map, device: torch.device) -> tuple[Map, set[str]]:
    """A copy of a map on a device, and the types of devices on which it, or a copy of it, is applied."""
    used: set[str] = set()
    system = copy.deepcopy(system).to(device)
    system.register_forward_pre_hook(lambda _, states: used.add(states[0].device.type))
    return system, used


@pytest.fixture(scope="module")
def dae(digits_train: Dataset) -> DenoisingAutoencoder:
    """Small, with a dozen attractors among the test digits."""
    settings = dl.TrainingSettings(sigma=0.2, walkback=3, epochs=40, hidden=64)
    trained = dl.train(digits_train.images, settings, state_shape=digits_train.shape, device="cpu")
    assert isinstance(trained, DenoisingAutoencoder)
    return trained


@pytest.mark.parametrize(("walkback", "tied"), [(1, False), (3, False), (3, True)])
def test_training(walkback: int, tied: bool, digits_train: Dataset, digits_test: Dataset, other: torch.device):
    settings = dl.TrainingSettings(sigma=0.2, walkback=walkback, tied=tied, epochs=2, hidden=32)
    train, test = digits_train.first(230), digits_test.first(100)
    expected = train_on_dataset(train, settings, test=test, device="cpu")
    found = train_on_dataset(train, settings, test=test, device=other)
    assert found.training_settings["device"] == other.type
    for name, value in found.state_dict().items():
        assert value.device.type == other.type
        _assert_close(value.cpu(), expected.state_dict()[name], SINGLE)
    for errors in ("train", "test"):
        assert found.training_settings["errors"][errors] == pytest.approx(expected.training_settings["errors"][errors])
    assert found.training_settings["objective"] == pytest.approx(expected.training_settings["objective"])


@only_emulated
def test_training_waits_for_the_device_once_an_epoch_and_not_once_a_minibatch(digits_train: Dataset):
    waits = []
    for batch_size in (50, 5):
        settings = dl.TrainingSettings(sigma=0.2, walkback=2, epochs=3, hidden=8, batch_size=batch_size)
        host_waits.clear()
        dl.train(digits_train.images[:100], settings, device=emulated_device())
        waits.append(host_waits.copy())
    assert waits[0] == waits[1]


def test_a_checkpoint(dae: DenoisingAutoencoder, tmp_path: Path, other: torch.device):
    on_device, _ = moved(dae, other)
    assert isinstance(on_device, DenoisingAutoencoder)
    on_device.save(tmp_path / "dae.safetensors")
    assert map_hash(on_device) == map_hash(dae) == map_hash(DenoisingAutoencoder.load(tmp_path / "dae.safetensors"))


@pytest.mark.parametrize("images_move", [False, True])
def test_reconstruction_errors(images_move: bool, dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device):
    system, used = moved(dae, other)
    images = digits_test.images[:300]
    found = reconstruction_errors(system, images.to(other) if images_move else images, sigma=0.3, walkback=2, seed=0)
    expected = reconstruction_errors(dae, images, sigma=0.3, walkback=2, seed=0)
    assert vars(found) == pytest.approx(vars(expected), rel=1e-5)
    assert used == {other.type}


@pytest.mark.parametrize("images_move", [False, True])
def test_orbits_of_an_autoencoder(
    images_move: bool, dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device
):
    system, used = moved(dae, other)
    images = digits_test.images[:40]
    found = dl.iterate(system, images.to(other) if images_move else images)
    assert used == {other.type}
    _check_orbits(found, dl.iterate(dae, images))
    again = dl.iterate(system, images, known=found.fixed_points)
    assert set(again.fixed_points) == set(found.fixed_points)


def _closed_forms() -> dict[str, tuple[Map, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, generator=generator)
    disc = torch.randn(300, 300, generator=generator) / 300**0.5
    wells = Formula(2, lambda x: x + 0.1 * x * (1 - x * x))
    return {
        "wells": (wells, torch.rand(40, 2, generator=generator) * 3 - 1.5),
        "wells in float64": (wells, torch.rand(40, 2, generator=generator, dtype=torch.float64) * 3 - 1.5),
        "along a boundary": (wells, torch.stack([torch.linspace(-1e-4, 1e-4, 24), torch.linspace(-1, 1, 24)], dim=1)),
        "a cycle": (Formula(1, lambda x: 3.2 * x * (1 - x)), torch.rand(20, 1, generator=generator)),
        "to infinity": (Formula(1, lambda x: x * x), torch.rand(20, 1, generator=generator) * 2),
        "a single sample": (wells, torch.tensor([[0.4, 0.7]])),
        "long states": (Linear(0.9 * disc, torch.ones(300)), torch.randn(4, 300, generator=generator)),
        "buffers": (Linear(0.9 * matrix / torch.linalg.matrix_norm(matrix, 2), torch.ones(5)), torch.eye(5)),
    }


@pytest.mark.parametrize("name", _closed_forms())
def test_orbits_of_a_closed_form(name: str, other: torch.device):
    system, states = _closed_forms()[name]
    on_device, used = moved(system, other)
    found = dl.iterate(on_device, states.to(other), max_steps=300, max_exact_steps=1000)
    assert used == {other.type}
    _check_orbits(found, dl.iterate(system, states, max_steps=300, max_exact_steps=1000))


def test_known_fixed_points_of_a_map_without_parameters(other: torch.device):
    weight = torch.tensor([[0.5, 0.2], [0.0, -0.4]])
    states = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    on_device = weight.to(other)  # which no parameter of the map tells
    here, there = Formula(2, lambda x: x @ weight.to(x)), Formula(2, lambda x: x @ on_device.to(x.dtype))
    known = dl.iterate(here, states).fixed_points
    found = dl.iterate(there, states.to(other), known=known)
    assert found.fixed_point.tolist() == [0] * 6
    assert dl.critical_shocks(there, states[:1].to(other).double(), known).attractors.tolist() == [0]


def _check_orbits(found: dl.Orbits, expected: dl.Orbits) -> None:
    assert list(found.status) == list(expected.status)
    for name in ("fixed_point", "period"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert int((found.steps - expected.steps).abs().max()) <= 1  # a step length within rounding of the tolerance
    ended = [status is not dl.Status.DIVERGED for status in expected.status]
    assert found.states is not None
    assert expected.states is not None
    _assert_close(found.states[ended], expected.states[ended], DOUBLE)
    _assert_close(found.step_lengths[:20], expected.step_lengths[:20], SINGLE)
    for point, like in zip(found.fixed_points, expected.fixed_points, strict=True):
        _assert_close(point.state, like.state, DOUBLE)
        assert point.safe_radius == pytest.approx(like.safe_radius, rel=1e-9)


def test_basins(dae: DenoisingAutoencoder, digits_test: Dataset, tmp_path: Path, other: torch.device):
    system, _ = moved(dae, other)
    found = dl.basins_of_attraction(system, digits_test.images[40:80].to(other))
    expected = dl.basins_of_attraction(dae, digits_test.images[40:80])
    assert torch.equal(found.labels, expected.labels)
    _assert_close(found.fixed_points, expected.fixed_points, DOUBLE)
    _assert_close(found.spectral_radii, expected.spectral_radii, DOUBLE)
    found.save(tmp_path / "basins.safetensors")
    assert torch.equal(dl.Basins.load(tmp_path / "basins.safetensors", system).labels, expected.labels)


def test_a_connection_graph(dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device):
    basins = dl.basins_of_attraction(dae, digits_test.images[:40])
    expected = dl.connection_graph(dae, basins)
    found = dl.connection_graph(copy.deepcopy(dae).to(other), basins)
    assert found.number_of_edges() == expected.number_of_edges() > 0
    assert dl.track_counts(found) == dl.track_counts(expected)
    for ours, theirs in zip(found.edges(data="state"), expected.edges(data="state"), strict=True):
        assert ours[2].device.type == "cpu"
        assert torch.allclose(ours[2], theirs[2], atol=1e-9)


@pytest.mark.parametrize("factored", [True, False])
def test_newton_and_spectra(factored: bool, dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device):
    exact = float64_copy(dae)
    expected_system = exact if factored else Formula(64, exact.forward)
    on_device, used = moved(exact, other)
    system = on_device if factored else Formula(64, on_device.forward)
    starts = digits_test.images[:3].double()
    for start in starts:
        solution, expected = newton(system, start.to(other)), newton(expected_system, start)
        assert solution.state.device.type == other.type
        assert solution.is_fixed_point == expected.is_fixed_point
        if expected.is_fixed_point:
            _assert_close(solution.state.cpu(), expected.state, DOUBLE)
    for leading in (None, 4):
        found = spectrum(system, starts.to(other), leading).eigenvalues
        _assert_close(found.abs(), spectrum(expected_system, starts, leading).eigenvalues.abs(), DOUBLE)
    radius = dl.spectral_radius(system, starts.float().to(other))
    _assert_close(radius, dl.spectral_radius(expected_system, starts.float()), DOUBLE)
    assert used <= {other.type}


def test_derivatives(dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device):
    exact = float64_copy(dae)
    states, vectors = digits_test.images[:4].double(), digits_test.images[4:8].double()
    on_device = copy.deepcopy(exact).to(other)
    for system in (on_device, Formula(64, on_device.forward)):
        for found, expected in (
            (system.jacobian(states.to(other)), exact.jacobian(states)),
            (system.jvp(states.to(other), vectors.to(other)), exact.jvp(states, vectors)),
            (system.vjp(states.to(other), vectors.to(other)), exact.vjp(states, vectors)),
        ):
            assert found.device.type == other.type
            _assert_close(found.cpu(), expected, DOUBLE)


@pytest.mark.parametrize("images_move", [False, True])
def test_transformed_sets_and_films(
    images_move: bool, dae: DenoisingAutoencoder, digits_test: Dataset, other: torch.device
):
    system, used = moved(dae, other)
    images = digits_test.images[:100]
    given = images.to(other) if images_move else images
    found, expected = dl.transform(system, given), dl.transform(dae, images)
    assert (found.steps, found.stopped_by_rule) == (expected.steps, expected.stopped_by_rule)
    _assert_close(found.states, expected.states, ITERATED)
    frames = film_states(system, given[:3], images[3:6])
    _assert_close(frames, film_states(dae, images[:3], images[3:6]), ITERATED)
    assert used == {other.type}


def test_an_analysis(
    dae: DenoisingAutoencoder,
    digits_train: Dataset,
    digits_test: Dataset,
    tmp_path: Path,
    other: torch.device,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(networks, "_MOST_EPOCHS", 2)  # a recognizer of little skill can be compared as well
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    system, used = moved(dae, other)
    test, train = digits_test.first(60), digits_train.first(90)
    found, expected = (dl.analyse(each, test, train_data=train) for each in (system, dae))
    assert used == {other.type}
    assert found.results.settings["device"] == other.type
    found.save(tmp_path)
    for field in fields(Arrays):
        name = field.name
        array, like = getattr(found.arrays, name), getattr(expected.arrays, name)
        if name in ("steps", "step_lengths"):
            continue  # compared above
        _assert_close(array, like, ITERATED if name == "film_states" else DOUBLE)
    for name in ("statuses", "outcomes", "map", "data", "train_data", "recognizer_data"):
        assert getattr(found.results, name) == getattr(expected.results, name)
    for attractor, like in zip(found.results.attractors, expected.results.attractors, strict=True):
        assert (attractor.kind, attractor.label, attractor.basin_size) == (like.kind, like.label, like.basin_size)
        assert attractor.recognizer_score == pytest.approx(like.recognizer_score, abs=1e-3)
    assert found.results.separability is not None
    assert expected.results.separability is not None
    assert found.results.separability.basins == expected.results.separability.basins


@pytest.mark.parametrize("name", ["henon", "logistic", "cycles"])
def test_an_analysis_of_what_never_rests(name: str, other: torch.device):
    make = {"henon": Henon, "logistic": lambda: Logistic(3.9), "cycles": two_cycles}[name]
    states = torch.rand(12, 1 if name == "logistic" else 2, generator=torch.Generator().manual_seed(0)) - 0.2
    settings = dl.AnalysisSettings(max_steps=200, max_exact_steps=200, plane_resolution=10)
    moved, home = make().to(other), make()
    found, expected = (
        dl.analyse(each, states.to(at), settings=settings) for each, at in ((moved, other), (home, "cpu"))
    )
    assert found.results.outcomes == expected.results.outcomes
    assert found.results.planes == expected.results.planes
    for cycle, like in zip(found.basins().cycles, expected.basins().cycles, strict=True):
        _assert_close(cycle.states, like.states, DOUBLE)
    for point, like in zip(found.results.pictured or [], expected.results.pictured or [], strict=True):
        assert point.state == pytest.approx(like.state, abs=1e-12)
        assert np.array(point.multipliers) == pytest.approx(np.array(like.multipliers), abs=1e-9)
    assert (found.results.restless is None) == (name == "cycles")
    for field in fields(Arrays):
        array = getattr(found.arrays, field.name)
        assert array is None or array.device.type == "cpu", field.name


def test_a_function_named_in_a_command_goes_to_the_device(other: torch.device):
    moved = map_on(lambda states: states / 2, "half", (12,), other)
    assert home_of(moved, torch.empty(0)).device.type == other.type
    assert dl.iterate(moved, torch.rand(3, 12)).status.counts()["converged"] == 3


def test_a_function_that_works_on_the_cpu_only_stays_there_unless_the_device_is_asked_for(other: torch.device):
    here = torch.ones(12, dtype=torch.float64)
    with pytest.raises(InputError, match=r"^map plus: the function fails for "):
        map_on(lambda states: (states + here) / 2, "plus", (12,), other)
    stays = map_on(lambda states: (states + here) / 2, "plus", (12,), other, is_asked_for=False)
    assert home_of(stays, torch.empty(0)).device.type == "cpu"
