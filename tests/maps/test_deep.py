"""Deep autoencoders against torch's own layers and autograd, their dynamics, and checkpoints, whole and damaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import unwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynlab.attractors import basins_of_attraction
from dynlab.dynamics import certify, completeness, energy, iterate, spectrum
from dynlab.dynamics.certificates import CertificateStatus
from dynlab.errors import InputError
from dynlab.maps import NONLINEARITIES, DeepAutoencoder, DenoisingAutoencoder, load_map, map_hash
from dynlab.training import generator, initialize

MODULES = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "identity": nn.Identity}
# The narrowest hidden layer is the last, the first, one between, and as wide as a state or wider.
WIDTHS = [(4, 3), (3, 4), (5, 2, 4), (7, 6, 8)]


def random_autoencoder(dim: int = 5, hidden: tuple[int, ...] = (4, 3), **settings: Any) -> DeepAutoencoder:
    autoencoder = DeepAutoencoder(dim, hidden, **settings)
    stream = torch.Generator().manual_seed(7)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(generator=stream)
    return autoencoder


def random_states(samples: int = 4, dim: int = 5, seed: int = 8) -> Tensor:
    return torch.randn(samples, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def torchs_own(autoencoder: DeepAutoencoder) -> nn.Sequential:
    """The same map in layers of torch, by the names and shapes of the tensors alone."""
    tensors, depth = autoencoder.state_dict(), len(autoencoder.hidden)
    modules: list[nn.Module] = []
    for layer in range(2 * depth):
        part, index = ("encoder", layer) if layer < depth else ("decoder", layer - depth)
        is_transposed = part == "decoder" and autoencoder.tied
        weight = (
            tensors[f"encoder.{depth - 1 - index}.weight"].T if is_transposed else tensors[f"{part}.{index}.weight"]
        )
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight.clone(), tensors[f"{part}.{index}.bias"].clone()
        is_last = layer == 2 * depth - 1
        name = autoencoder.output_nonlinearity if is_last else autoencoder.hidden_nonlinearity
        modules += [linear, MODULES[name]()]
    return nn.Sequential(*modules)


def gradient(module: nn.Module, name: str) -> Tensor:
    found = module.get_parameter(name).grad
    assert found is not None
    return found


def test_every_nonlinearity_is_tested() -> None:
    assert set(MODULES) == set(NONLINEARITIES)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize(
    ("inner", "output"), [("sigmoid", "sigmoid"), ("tanh", "identity"), ("relu", "tanh"), ("identity", "relu")]
)
def test_values_and_derivatives_are_torchs_own(
    inner: str, output: str, hidden: tuple[int, ...], tied: bool, device: torch.device
) -> None:
    autoencoder = random_autoencoder(hidden=hidden, tied=tied, hidden_nonlinearity=inner, output_nonlinearity=output)
    autoencoder = autoencoder.double().to(device)
    own = torchs_own(autoencoder)
    states, vectors = random_states().to(device), random_states(seed=9).to(device)
    kept = states.clone()

    depth = len(hidden)
    torch.testing.assert_close(autoencoder.encode(states), own[: 2 * depth](states), rtol=1e-13, atol=1e-14)
    with torch.no_grad():  # where nonlinearities work in place
        torch.testing.assert_close(autoencoder(states), own(states), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(autoencoder(states), own(states), rtol=1e-13, atol=1e-14)
    assert torch.equal(states, kept)

    expected = torch.func.vmap(torch.func.jacrev(own))(states).detach()
    factors = autoencoder.jacobian_factors(states)
    assert factors is not None
    a, b = factors
    rank = min(hidden)
    assert a.shape == (4, 5, rank)
    assert b.shape == (1 if hidden[0] == rank else 4, rank, 5)
    close: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(a @ b, expected, **close)
    torch.testing.assert_close(autoencoder.jacobian(states), expected, **close)
    images = torch.einsum("bij,bj->bi", expected, vectors)
    torch.testing.assert_close(autoencoder.jvp(states, vectors), images, **close)
    torch.testing.assert_close(autoencoder.linearized(states)(vectors), images, **close)
    pulled_back = torch.einsum("bij,bi->bj", expected, vectors)
    torch.testing.assert_close(autoencoder.vjp(states, vectors), pulled_back, **close)
    results = (a, b, autoencoder.jvp(states, vectors), autoencoder.vjp(states, vectors))
    assert not any(result.requires_grad for result in results)

    by_layers = states
    for weight, bias, name in autoencoder.layers():
        by_layers = NONLINEARITIES[name].function(nn.functional.linear(by_layers, weight, bias))
    torch.testing.assert_close(by_layers, own(states), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_the_parameters_are_torchs_own(tied: bool) -> None:
    autoencoder = random_autoencoder(tied=tied).double()
    own = torchs_own(autoencoder)
    states = random_states()
    autoencoder(states).square().sum().backward()
    own(states).square().sum().backward()
    for index in range(2):
        weight, mirrored = gradient(own, f"{2 * index}.weight"), gradient(own, f"{6 - 2 * index}.weight")
        expected = weight + mirrored.T if tied else weight
        close: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
        torch.testing.assert_close(gradient(autoencoder, f"encoder.{index}.weight"), expected, **close)
        for part, first in (("encoder", 0), ("decoder", 4)):
            expected = gradient(own, f"{first + 2 * index}.bias")
            torch.testing.assert_close(gradient(autoencoder, f"{part}.{index}.bias"), expected, **close)
        if not tied:
            expected = gradient(own, f"{4 + 2 * index}.weight")
            torch.testing.assert_close(gradient(autoencoder, f"decoder.{index}.weight"), expected, **close)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0, "hidden": (3, 2)}, "dim is 0, expected at least 1"),
        ({"dim": 4, "hidden": (3,)}, r"hidden is \(3,\), expected a tuple of at least two widths, each at least 1"),
        ({"dim": 4, "hidden": (3, 0)}, r"hidden is \(3, 0\), expected a tuple of at least two widths"),
        ({"dim": 4, "hidden": (3, 2.0)}, r"hidden is \(3, 2.0\), expected a tuple of at least two widths"),
        ({"dim": 4, "hidden": 3}, "hidden is 3, expected a tuple of at least two widths"),
        ({"dim": 4, "hidden": (3, 2), "state_shape": (3,)}, r"state_shape is \(3,\), expected a shape of 4 numbers"),
        ({"dim": 4, "hidden": (3, 2), "hidden_nonlinearity": "relo"}, "hidden_nonlinearity is 'relo', expected one of"),
        ({"dim": 4, "hidden": (3, 2), "output_nonlinearity": ""}, "output_nonlinearity is '', expected one of sigmoid"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unwrap(DeepAutoencoder.__init__)(DeepAutoencoder.__new__(DeepAutoencoder), **arguments)


def test_energy_is_refused() -> None:
    with pytest.raises(ValueError, match="autoencoder is a DeepAutoencoder, expected a DenoisingAutoencoder"):
        unwrap(energy)(random_autoencoder(tied=True), random_states())


# Dynamics


def bistable() -> DeepAutoencoder:
    """Strong random weights, and thresholds in the middle, so that there are several attractors."""
    autoencoder = DeepAutoencoder(6, (12, 5)).double()
    stream = torch.Generator().manual_seed(1)
    for layer in autoencoder.layers():
        layer.weight.copy_(6 * torch.randn(layer.weight.shape, dtype=torch.float64, generator=stream))
        layer.bias.copy_(-layer.weight.sum(dim=1) / 2)
    return autoencoder


def test_dynamics_are_those_of_plain_iteration() -> None:
    autoencoder = bistable()
    own = torchs_own(autoencoder).requires_grad_(requires_grad=False)
    states = torch.rand(60, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    ends = states
    for _ in range(3000):
        ends = own(ends)
    assert float((own(ends) - ends).abs().max()) < 1e-14

    assert (iterate(autoencoder, states).states - ends).abs().max() < 1e-9
    basins = basins_of_attraction(autoencoder, states)
    assert len(basins.fixed_points) >= 3
    assert torch.equal(torch.cdist(ends, basins.fixed_points).argmin(dim=1), basins.labels)
    assert (basins.fixed_points[basins.labels] - ends).abs().max() < 1e-9

    found = spectrum(autoencoder, basins.fixed_points)
    index = completeness(autoencoder, basins.fixed_points)
    for row, point in enumerate(basins.fixed_points):
        jacobian = torch.func.jacrev(own)(point).numpy()
        expected = np.linalg.eigvals(jacobian)
        # One of rank 5 in 6 dimensions: each eigenvalue is matched with the nearest.
        apart = np.abs(found.eigenvalues[row].numpy()[:, None] - expected)
        assert apart.min(axis=0).max() < 1e-9
        assert apart.min(axis=1).max() < 1e-9
        assert float(basins.spectral_radii[row]) == pytest.approx(np.abs(expected).max(), rel=1e-9)
        assert int(index.indices[row]) == np.sign(np.linalg.det(np.eye(6) - jacobian)) == 1


@pytest.mark.parametrize("method", ["estimate", "proof"])
def test_certified_balls_hold_what_they_claim(method: str) -> None:
    if method == "proof":
        pytest.importorskip("flint", reason="python-flint is not here: install the extra `proof`")
    autoencoder = bistable()
    own = torchs_own(autoencoder).requires_grad_(requires_grad=False)
    point = torch.rand(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for _ in range(3000):
        point = own(point)
    certificate = certify(autoencoder, point[0], method=method)
    expected = CertificateStatus.PROVED if method == "proof" else CertificateStatus.ESTIMATED
    assert (certificate.status, certificate.reason) == (expected, "")
    radius = np.abs(np.linalg.eigvals(torch.func.jacrev(own)(point[0]).numpy())).max()
    assert radius <= certificate.contraction < 1
    assert 0 < certificate.basin_radius < math.inf
    directions = random_states(200, 6)
    ends = point + certificate.basin_radius * directions / directions.norm(dim=1, keepdim=True)
    for _ in range(3000):
        ends = own(ends)
    assert (ends - point).abs().max() < 1e-12


# Initialization


@pytest.mark.parametrize("tied", [False, True])
def test_initial_weights_are_uniform_within_the_bound_of_each_layer(tied: bool, device: torch.device) -> None:
    autoencoder = random_autoencoder(30, (20, 10), tied=tied).to(device)
    initialize(autoencoder, seed=4)
    layers = autoencoder.layers()
    stream = generator(4, "initialization")  # in which the weights follow each other
    for layer in layers[:2] if tied else layers:
        outputs, inputs = layer.weight.shape
        bound = math.sqrt(6 / (inputs + outputs))
        expected = bound * (2 * torch.rand(outputs, inputs, generator=stream) - 1)
        torch.testing.assert_close(layer.weight.cpu(), expected, rtol=0, atol=1e-7 * bound)
    assert not any(layer.bias.any() for layer in layers)


# Checkpoints


@pytest.mark.parametrize("tied", [False, True])
def test_checkpoint_comes_back(tmp_path: Path, tied: bool, device: torch.device) -> None:
    training = {"sigma": 0.7, "hidden": [4, 3, 5], "annealing": None}
    saved = random_autoencoder(
        6,
        (4, 3, 5),
        tied=tied,
        hidden_nonlinearity="tanh",
        output_nonlinearity="relu",
        state_shape=(2, 3),
        training=training,
    ).to(device)
    path = tmp_path / "folder" / "deep.safetensors"
    saved.save(path)
    for load in (DeepAutoencoder.load, load_map):
        loaded = load(str(path))
        assert isinstance(loaded, DeepAutoencoder)
        assert map_hash(loaded) == map_hash(saved)
        assert loaded.training_settings == training
        assert (loaded.hidden, loaded.tied, loaded.state_shape) == ((4, 3, 5), tied, (2, 3))
        states = random_states(dim=6).float()
        torch.testing.assert_close(loaded(states), saved.cpu()(states), rtol=0, atol=0)
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(path).items()}
    widths = (6, 4, 3, 5)
    expected = {f"encoder.{i}.weight": (widths[i + 1], widths[i]) for i in range(3)}
    expected |= {f"encoder.{i}.bias": (widths[i + 1],) for i in range(3)}
    expected |= {f"decoder.{i}.bias": (widths[2 - i],) for i in range(3)}
    if not tied:
        expected |= {f"decoder.{i}.weight": (widths[2 - i], widths[3 - i]) for i in range(3)}
    assert shapes == expected


def test_load_map_knows_either_kind_and_no_other(tmp_path: Path) -> None:
    shallow = DenoisingAutoencoder(4, 3)
    shallow.save(tmp_path / "shallow")
    save_file({name: tensor.clone() for name, tensor in shallow.state_dict().items()}, tmp_path / "bare")
    for name in ("shallow", "bare"):
        loaded = load_map(tmp_path / name)
        assert type(loaded) is DenoisingAutoencoder
        assert map_hash(loaded) == map_hash(shallow)
        with pytest.raises(InputError, match="a checkpoint of kind 'denoising-autoencoder', expected 'deep-auto"):
            DeepAutoencoder.load(tmp_path / name)
    random_autoencoder().save(tmp_path / "deep")
    with pytest.raises(InputError, match="a checkpoint of kind 'deep-autoencoder', expected 'denoising-autoencoder'"):
        DenoisingAutoencoder.load(tmp_path / "deep")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other", {"kind": "basins-of-attraction"})
    expected = "of kind 'basins-of-attraction', expected 'denoising-autoencoder' or 'deep-autoencoder'"
    with pytest.raises(InputError, match=f"^{tmp_path / 'other'}: a checkpoint {expected}$"):
        load_map(tmp_path / "other")


NAN = float("nan")
KIND = {"kind": "deep-autoencoder"}
Change = Callable[[dict[str, Tensor]], object]


def without(*names: str) -> Change:
    return lambda tensors: [tensors.pop(name) for name in names]


def with_tensor(name: str, tensor: Tensor) -> Change:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "metadata", "expected"),
    [
        (without("encoder.0.weight"), {}, "tensor encoder.0.weight is missing"),
        (without("encoder.1.weight"), {}, "tensor encoder.1.weight is missing"),
        (without("encoder.0.weight", "encoder.0.bias"), {}, "tensor encoder.0.weight is missing"),
        (without("encoder.1.bias"), {}, "tensor encoder.1.bias is missing"),
        (without("decoder.0.weight"), {}, "tensor decoder.0.weight is missing"),
        (without("decoder.1.bias"), {}, "tensor decoder.1.bias is missing"),
        (dict.clear, {}, "tensor encoder.0.weight is missing"),
        (
            without("encoder.1.weight", "encoder.1.bias", "decoder.1.weight", "decoder.1.bias"),
            {},
            "decoder.0.weight has shape (4, 3), expected (5, 4)",
        ),
        (
            with_tensor("encoder.0.weight", torch.zeros(20)),
            {},
            "encoder.0.weight has shape (20,), expected (outputs, i",
        ),
        (with_tensor("encoder.1.weight", torch.zeros(3, 5)), {}, "encoder.1.weight has shape (3, 5), expected (3, 4)"),
        (with_tensor("encoder.1.bias", torch.zeros(4)), {}, "encoder.1.bias has shape (4,), expected (3,)"),
        (with_tensor("decoder.0.weight", torch.zeros(3, 4)), {}, "decoder.0.weight has shape (3, 4), expected (4, 3)"),
        (with_tensor("decoder.1.bias", torch.zeros(4)), {}, "decoder.1.bias has shape (4,), expected (5,)"),
        (with_tensor("decoder.1.bias", torch.full((5,), NAN)), {}, "decoder.1.bias holds NaN or infinite values"),
        (
            with_tensor("encoder.1.weight", torch.full((3, 4), 1e300, dtype=torch.float64)),
            {},
            "encoder.1.weight holds NaN or infinite values",
        ),
        (with_tensor("encoder.0.bias", torch.zeros(4, dtype=torch.int32)), {}, "encoder.0.bias is of type torch.int32"),
        (with_tensor("encoder.2.bias", torch.zeros(3)), {}, "tensor encoder.2.weight is missing"),
        (
            with_tensor("encoder.01.bias", torch.zeros(3)),
            {},
            "unknown tensor 'encoder.01.bias', expected only decoder.",
        ),
        (
            with_tensor("decoder.2.bias", torch.zeros(3)),
            {},
            "unknown tensor 'decoder.2.bias', expected only decoder.0.",
        ),
        (
            with_tensor("encoder.weight", torch.zeros(3)),
            {},
            "unknown tensor 'encoder.weight', expected only decoder.0.",
        ),
        (with_tensor(f"encoder.{'9' * 5000}.bias", torch.zeros(3)), {}, "tensor encoder.2.weight is missing"),
        (
            without("decoder.1.weight"),
            {"tied": "false"},
            "tensor decoder.1.weight is missing in a checkpoint that says",
        ),
        (without("decoder.1.weight"), {"tied": "true"}, "unknown tensor 'decoder.0.weight' in a checkpoint that says"),
        (without(), {"tied": "perhaps"}, "tied is 'perhaps' in the metadata, expected true or false"),
        (without(), {"hidden_nonlinearity": "\n"}, r"hidden_nonlinearity is '\n', expected one of sigmoid, "),
        (without(), {"state_shape": "[3, 3]"}, "state_shape is (3, 3), expected a shape of 5 numbers"),
        (without(), {"state_shape": "5"}, "state_shape is '5' in the metadata, expected a list of positive integers"),
        (without(), {"training": "[]"}, "training is a list in the metadata, expected an object"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Change, metadata: dict[str, str], expected: str) -> None:
    tensors = {name: tensor.clone() for name, tensor in random_autoencoder().state_dict().items()}
    change(tensors)
    path = tmp_path / "file"
    save_file(tensors, path, KIND | metadata)
    for load in (DeepAutoencoder.load, load_map):
        with pytest.raises(InputError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: {expected}")
        assert message.isprintable()


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((5, 4), "hidden is (4,), expected a tuple of at least two widths, each at least 1"),
        ((5, 4, 0), "hidden is (4, 0), expected a tuple of at least two widths, each at least 1"),
        ((0, 4, 3), "dim is 0, expected at least 1"),
    ],
)
def test_whole_files_of_impossible_widths_are_refused(tmp_path: Path, widths: tuple[int, ...], expected: str) -> None:
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        tensors |= {
            f"encoder.{index}.weight": torch.zeros(outputs, inputs),
            f"encoder.{index}.bias": torch.zeros(outputs),
        }
        tensors[f"decoder.{len(widths) - 2 - index}.bias"] = torch.zeros(inputs)
    save_file(tensors, tmp_path / "file", KIND)
    with pytest.raises(InputError) as caught:
        load_map(tmp_path / "file")
    assert str(caught.value) == f"{tmp_path / 'file'}: {expected}"
