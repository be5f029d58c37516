"""Equations 1 and 2 in numpy, Jacobians by autograd and by differences, and checkpoints, whole and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder, map_hash

IN_NUMPY: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "identity": lambda x: x,
}
EVERY_PAIR = [(hidden, output) for hidden in NONLINEARITIES for output in NONLINEARITIES]


def random_autoencoder(dim: int = 5, hidden: int = 3, **settings: Any) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, hidden, **settings)
    generator = torch.Generator().manual_seed(7)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(generator=generator)
    return autoencoder


def random_states(samples: int = 4, dim: int = 5, seed: int = 8) -> Tensor:
    return torch.randn(samples, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_nonlinearity_is_tested() -> None:
    assert set(IN_NUMPY) == set(NONLINEARITIES)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("hidden", "output"), EVERY_PAIR)
def test_equations_1_and_2(hidden: str, output: str, tied: bool, device: torch.device) -> None:
    autoencoder = random_autoencoder(tied=tied, hidden_nonlinearity=hidden, output_nonlinearity=output)
    autoencoder = autoencoder.double().to(device)
    states = random_states()
    parameters = {name: value.cpu().numpy() for name, value in autoencoder.state_dict().items()}
    w1, b1, b2 = parameters["encoder.weight"], parameters["encoder.bias"], parameters["decoder.bias"]
    assert ("decoder.weight" in parameters) is not tied
    w2 = w1.T if tied else parameters["decoder.weight"]
    for state, found_h, found_o in zip(
        states.numpy(), autoencoder.encode(states.to(device)), autoencoder(states.to(device)), strict=True
    ):
        h = IN_NUMPY[hidden](w1 @ state + b1)
        o = IN_NUMPY[output](w2 @ h + b2)
        np.testing.assert_allclose(found_h.detach().cpu().numpy(), h, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(found_o.detach().cpu().numpy(), o, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("hidden", "output"), EVERY_PAIR)
def test_jacobian_is_that_of_autograd_and_of_differences(
    hidden: str, output: str, tied: bool, device: torch.device
) -> None:
    autoencoder = random_autoencoder(tied=tied, hidden_nonlinearity=hidden, output_nonlinearity=output)
    autoencoder = autoencoder.double().to(device)
    states = random_states().to(device)
    found = autoencoder.jacobian(states)
    factors = autoencoder.jacobian_factors(states)
    assert factors is not None
    a, b = factors
    assert (a.shape, b.shape) == ((4, 5, 3), (1, 3, 5))
    torch.testing.assert_close(a @ b, found, rtol=0, atol=0)

    step = 1e-6
    for state, jacobian in zip(states, found, strict=True):
        by_autograd = torch.autograd.functional.jacobian(lambda x: autoencoder(x[None])[0], state)
        torch.testing.assert_close(jacobian, by_autograd, rtol=1e-12, atol=1e-14)
        shifts = step * torch.eye(5, dtype=torch.float64, device=device)
        with torch.no_grad():
            differences = (autoencoder(state + shifts) - autoencoder(state - shifts)).T / (2 * step)
        torch.testing.assert_close(jacobian, differences, rtol=1e-7, atol=1e-8)

    vectors = random_states(seed=9).to(device)
    torch.testing.assert_close(autoencoder.jvp(states, vectors), torch.einsum("bij,bj->bi", found, vectors))
    torch.testing.assert_close(autoencoder.vjp(states, vectors), torch.einsum("bij,bi->bj", found, vectors))
    results = (found, a, b, autoencoder.jvp(states, vectors), autoencoder.vjp(states, vectors))
    assert not any(result.requires_grad for result in results)


@pytest.mark.parametrize(("dim", "shape"), [(784, (28, 28)), (5, (5,)), (1, (1,)), (4, (2, 2))])
def test_square_numbers_are_looked_at_as_images(dim: int, shape: tuple[int, ...]) -> None:
    assert DenoisingAutoencoder(dim, 2).state_shape == shape
    assert DenoisingAutoencoder(dim, 2, state_shape=(dim,)).state_shape == (dim,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0, "hidden": 3}, "dim is 0, expected at least 1"),
        ({"dim": 4, "hidden": 0}, "hidden is 0, expected at least 1"),
        ({"dim": 4, "hidden": 1, "state_shape": (3,)}, r"state_shape is \(3,\), expected a shape of 4 numbers"),
        ({"dim": 4, "hidden": 1, "hidden_nonlinearity": "relo"}, "hidden_nonlinearity is 'relo', expected one of sig"),
        ({"dim": 4, "hidden": 1, "output_nonlinearity": ""}, "output_nonlinearity is '', expected one of sigmoid, tan"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoisingAutoencoder(**arguments)


@pytest.mark.parametrize("tied", [False, True])
def test_checkpoint_comes_back(tmp_path: Path, tied: bool, device: torch.device) -> None:
    training = {"sigma": 0.7, "walkback": 4, "data": {"name": "mnist/train"}, "annealing": None}
    saved = random_autoencoder(
        6, 4, tied=tied, hidden_nonlinearity="tanh", output_nonlinearity="relu", state_shape=(2, 3), training=training
    ).to(device)
    path = tmp_path / "folder" / "dae.safetensors"
    saved.save(path)
    loaded = DenoisingAutoencoder.load(str(path))
    assert map_hash(loaded) == map_hash(saved)
    assert loaded.training_settings == training
    assert (loaded.tied, loaded.state_shape) == (tied, (2, 3))
    states = random_states(dim=6).float()
    torch.testing.assert_close(loaded(states), saved.cpu()(states), rtol=0, atol=0)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    tensors = {"encoder.weight", "encoder.bias", "decoder.bias"} | (set() if tied else {"decoder.weight"})
    assert names == tensors


def linear_layers() -> dict[str, Tensor]:
    """The four tensors as torch's own layers name and shape them."""
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"encoder": torch.nn.Linear(4, 3), "decoder": torch.nn.Linear(3, 4)})
    return {name: tensor.clone() for name, tensor in layers.state_dict().items()}


def test_bare_tensors_are_a_sigmoid_autoencoder(tmp_path: Path) -> None:
    tensors = linear_layers()
    save_file(tensors, tmp_path / "bare.safetensors")
    loaded = DenoisingAutoencoder.load(tmp_path / "bare.safetensors")
    states = random_states(dim=4).float()
    hidden = torch.sigmoid(torch.nn.functional.linear(states, tensors["encoder.weight"], tensors["encoder.bias"]))
    expected = torch.sigmoid(torch.nn.functional.linear(hidden, tensors["decoder.weight"], tensors["decoder.bias"]))
    torch.testing.assert_close(loaded(states), expected, rtol=0, atol=0)
    assert loaded.training_settings == {}

    del tensors["decoder.weight"]
    save_file(tensors, tmp_path / "tied.safetensors")
    tied = DenoisingAutoencoder.load(tmp_path / "tied.safetensors")
    assert tied.tied
    expected = torch.sigmoid(torch.nn.functional.linear(hidden, tensors["encoder.weight"].T, tensors["decoder.bias"]))
    torch.testing.assert_close(tied(states), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in linear_layers().items()}
    save_file(tensors, tmp_path / "other.safetensors")
    loaded = DenoisingAutoencoder.load(tmp_path / "other.safetensors").state_dict()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.float())


def refusal(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """What is said of a checkpoint, after the path: one line that can be printed."""
    save_file(tensors, path, metadata)
    with pytest.raises(InputError) as caught:
        DenoisingAutoencoder.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"encoder.weight": None}, "tensor encoder.weight is missing"),
        ({"encoder.bias": None}, "tensor encoder.bias is missing"),
        ({"decoder.bias": None}, "tensor decoder.bias is missing"),
        ({"encoder.weight": torch.zeros(12)}, "encoder.weight has shape (12,), expected (hidden, dim)"),
        ({"encoder.weight": torch.zeros(0, 4)}, "encoder.bias has shape (3,), expected (0,)"),
        ({"encoder.bias": torch.zeros(4)}, "encoder.bias has shape (4,), expected (3,)"),
        ({"encoder.bias": torch.zeros(3, 1)}, "encoder.bias has shape (3, 1), expected (3,)"),
        ({"decoder.bias": torch.zeros(3)}, "decoder.bias has shape (3,), expected (4,)"),
        ({"decoder.weight": torch.zeros(3, 4)}, "decoder.weight has shape (3, 4), expected (4, 3)"),
        ({"decoder.weight": torch.full((4, 3), NAN)}, "decoder.weight holds NaN or infinite values"),
        ({"encoder.bias": torch.tensor([0, 0, INF])}, "encoder.bias holds NaN or infinite values"),
        (
            {"encoder.weight": torch.full((3, 4), 1e300, dtype=torch.float64)},
            "encoder.weight holds NaN or infinite values",
        ),
        ({"decoder.bias": torch.zeros(4, dtype=torch.int32)}, "decoder.bias is of type torch.int32, expected floating"),
        ({"decoder.bias": torch.zeros(4, dtype=torch.complex64)}, "decoder.bias is of type torch.complex64, expected"),
        (
            {"extra\n": torch.zeros(1)},
            r"unknown tensor 'extra\n', expected only decoder.bias, decoder.weight, encoder.",
        ),
    ],
)
def test_malformed_tensors_are_named(tmp_path: Path, changed: dict[str, Tensor | None], expected: str) -> None:
    tensors = linear_layers() | changed
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    assert refusal(tmp_path / "file", kept).startswith(expected)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_layers_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    hidden, dim = shape
    tensors = {
        "encoder.weight": torch.zeros(hidden, dim),
        "encoder.bias": torch.zeros(hidden),
        "decoder.bias": torch.zeros(dim),
    }
    assert refusal(tmp_path / "file", tensors).endswith("is 0, expected at least 1")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"kind": "kernel-\nmachine"}, r"a checkpoint of kind 'kernel-\nmachine', expected 'denoising-autoencoder'"),
        ({"tied": "true"}, "unknown tensor 'decoder.weight' in a checkpoint that says it is tied"),
        ({"tied": "perhaps"}, "tied is 'perhaps' in the metadata, expected true or false"),
        ({"hidden_nonlinearity": "softsign"}, "hidden_nonlinearity is 'softsign', expected one of sigmoid, "),
        ({"output_nonlinearity": "\n"}, r"output_nonlinearity is '\n', expected one of sigmoid, "),
        ({"state_shape": "2 by 2"}, "state_shape in the metadata is not JSON ("),
        ({"state_shape": "[3, 3]"}, "state_shape is (3, 3), expected a shape of 4 numbers"),
        ({"state_shape": "4"}, "state_shape is '4' in the metadata, expected a list of positive integers"),
        ({"state_shape": "[]"}, "state_shape is '[]' in the metadata, expected a list of positive integers"),
        ({"state_shape": "null"}, "state_shape is 'null' in the metadata, expected a list of positive integers"),
        ({"state_shape": '"4"'}, "state_shape is '\"4\"' in the metadata, expected a list of positive integers"),
        ({"state_shape": '["4"]'}, "state_shape is '[\"4\"]' in the metadata, expected a list of positive integers"),
        ({"state_shape": "[[4]]"}, "state_shape is '[[4]]' in the metadata, expected a list of positive integers"),
        ({"state_shape": "[4.0]"}, "state_shape is '[4.0]' in the metadata, expected a list of positive integers"),
        ({"state_shape": "[true, 4]"}, "state_shape is '[true, 4]' in the metadata, expected a list of positive"),
        (
            {"state_shape": "[-2, -2]"},
            "state_shape is '[-2, -2]' in the metadata, expected a list of positive integers",
        ),
        ({"state_shape": '{"4": 1}'}, "state_shape is '{\"4\": 1}' in the metadata, expected a list of positive"),
        ({"training": "{sigma: 0.7}"}, "training in the metadata is not JSON ("),
        ({"training": "[]"}, "training is a list in the metadata, expected an object"),
        ({"training": '[["sigma", 0.7]]'}, "training is a list in the metadata, expected an object"),
        ({"training": "0.7"}, "training is a float in the metadata, expected an object"),
        ({"training": "null"}, "training is a NoneType in the metadata, expected an object"),
        ({"training": "[" * 100_000}, "training in the metadata is not JSON ("),
        ({"training": "9" * 5000}, "training in the metadata is not JSON ("),
    ],
)
def test_malformed_metadata_is_named(tmp_path: Path, metadata: dict[str, str], expected: str) -> None:
    assert refusal(tmp_path / "file", linear_layers(), metadata).startswith(expected)


def test_decoder_weight_that_should_be_there_is_missed(tmp_path: Path) -> None:
    tensors = linear_layers()
    del tensors["decoder.weight"]
    message = refusal(tmp_path / "file", tensors, {"tied": json.dumps(False)})
    assert message == "tensor decoder.weight is missing in a checkpoint that says it is not tied"


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder, expected a file"),
        (lambda path: path.write_bytes(b""), "not a whole safetensors file ("),
        (lambda path: path.write_text("{}"), "not a whole safetensors file ("),
        (lambda path: torch.save(linear_layers(), path), "holds a pickle, which is never loaded; expected a safetens"),
        (
            lambda path: torch.save(random_autoencoder(), path),
            "holds a pickle, which is never loaded; expected a safet",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, write: Callable[[Path], Any], expected: str) -> None:
    path = tmp_path / "dae.safetensors"
    write(path)
    with pytest.raises(InputError) as caught:
        DenoisingAutoencoder.load(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dae.safetensors"
    random_autoencoder().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a whole safetensors file"):
            DenoisingAutoencoder.load(path)


def test_checkpoint_goes_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"^{tmp_path / 'file' / 'dae'}: cannot be written"):
        random_autoencoder().save(tmp_path / "file" / "dae")
