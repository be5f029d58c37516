"""`as_map`: modules and functions as maps, inputs held for samples, and what is no map.

What the adapter finds out about a function is tested in test_function_check.py and test_function_hash.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynlab.dynamics.newton import newton
from dynlab.dynamics.spectra import spectral_radius
from dynlab.maps import Map, check_states, float64_copy, map_hash
from dynlab.maps.adapter import FunctionMap, as_map

unchecked_as_map = inspect.unwrap(as_map)  # as users have it, whose types nobody checks


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def jacobian_by_rows(function: Callable[[Tensor], Tensor], states: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Jacobians by one backward pass of ordinary autograd for each row and output."""
    jacobians = torch.empty(len(states), states.shape[1], states.shape[1], dtype=states.dtype, device=states.device)
    for row in range(len(states)):
        state = states[row].clone().requires_grad_()
        images = function(state.reshape(1, *shape)).flatten()
        for output in range(len(images)):
            jacobians[row, output] = torch.autograd.grad(images[output], state, retain_graph=True)[0]
    return jacobians


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5), nn.Conv2d(4, 1, 3, padding=1)
    )


def test_module_of_images(device: torch.device) -> None:
    module = convolutional().to(device)
    reference = convolutional().to(device).double().eval()
    system = float64_copy(as_map(module, (1, 8, 8)))
    assert isinstance(system, Map)
    assert (system.dim, system.state_shape, system.held_samples) == (64, (1, 8, 8), None)
    images = random(3, 1, 8, 8).to(device)
    states, vectors = images.flatten(1), random(3, 64, seed=1).to(device)
    torch.testing.assert_close(system(states), reference(images).flatten(1))
    torch.testing.assert_close(system(images), reference(images))
    expected = jacobian_by_rows(reference, states, (1, 8, 8))
    torch.testing.assert_close(system.jacobian(states), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(system.jvp(states, vectors), torch.einsum("bij,bj->bi", expected, vectors))
    torch.testing.assert_close(system.vjp(states, vectors), torch.einsum("bij,bi->bj", expected, vectors))


def test_module_given_stays_as_it_is_and_the_map_is_a_snapshot(device: torch.device) -> None:
    module = convolutional().to(device)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    system = as_map(module, (1, 8, 8))
    sha256 = map_hash(system)
    float64_copy(system)
    system.double()
    system(torch.rand(2, 64, dtype=torch.float64, device=device))
    assert module.training
    assert all(value.requires_grad for value in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in module.state_dict().items())
    snapshot = as_map(module, (1, 8, 8))
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert map_hash(snapshot) == sha256 != map_hash(as_map(module, (1, 8, 8)))


def test_method_of_a_module_takes_the_module_along(device: torch.device) -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def reconstruct(self, states: Tensor) -> Tensor:
            return torch.sigmoid(self.layer(states))

    model = Autoencoder().to(device)
    system = float64_copy(as_map(model.reconstruct, (6,)))
    states = random(3, 6).to(device)
    expected = torch.sigmoid(states @ model.layer.weight.double().T + model.layer.bias.double())
    torch.testing.assert_close(system(states), expected.detach(), rtol=1e-14, atol=1e-14)
    assert {value.dtype for value in system.parameters()} == {torch.float64}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_function_of_shaped_states(device: torch.device) -> None:
    def swirl(states: Tensor) -> Tensor:
        return torch.tanh(states.flip(2) * states.roll(1, dims=1)) + 0.1 * states.mean(dim=(1, 2), keepdim=True)

    system = as_map(swirl, (3, 4))
    states = random(5, 12).to(device)
    shaped = states.reshape(5, 3, 4)
    assert torch.equal(system(states), swirl(shaped).reshape(5, 12))
    assert torch.equal(system(shaped), swirl(shaped))
    assert torch.equal(system.shaped(system.flat(shaped)), shaped)
    assert system(states.float()).dtype == torch.float32
    torch.testing.assert_close(system.jacobian(states), jacobian_by_rows(swirl, states, (3, 4)), rtol=1e-13, atol=1e-15)
    assert system.for_samples(torch.tensor([1])) is system
    assert system(states[:0]).shape == (0, 12)
    for wrong in (torch.zeros(5, 11), torch.zeros(5, 4, 3), torch.zeros(5, 3, 4, 1)):
        with pytest.raises(ValueError, match=r"states has shape .*, expected \(batch, 12\) or \(batch, 3, 4\)"):
            system(wrong)


def test_attention_has_derivatives_both_ways(device: torch.device) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).to(device)
    system = float64_copy(as_map(layer, (3, 8)))
    states, vectors = random(2, 24).to(device), random(2, 24, seed=1).to(device)
    expected = jacobian_by_rows(layer.double().eval(), states, (3, 8))
    torch.testing.assert_close(system.jacobian(states), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(system.jvp(states, vectors), torch.einsum("bij,bj->bi", expected, vectors))
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.fixture
def inputs(device: torch.device) -> Tensor:
    return random(5, 4).to(device)


@pytest.fixture
def equilibrium(inputs: Tensor) -> FunctionMap:
    """`z -> z / 2 + x`, whose fixed point for the input `x` is `2 x`."""
    return as_map(lambda states, x: states / 2 + x, (4,), inputs=inputs)


def test_every_sample_has_its_own_fixed_point(equilibrium: FunctionMap, inputs: Tensor) -> None:
    assert equilibrium.held_samples == 5
    states = torch.zeros_like(inputs)
    for _ in range(60):
        states = equilibrium(states)
    torch.testing.assert_close(states, 2 * inputs, rtol=1e-15, atol=1e-15)
    rows = torch.tensor([4, 0, 4])
    chosen = equilibrium.for_samples(rows)
    assert chosen.held_samples == 3
    assert torch.equal(chosen(states[rows]), states[rows] / 2 + inputs[rows])
    again = chosen.for_samples(torch.tensor([1]))
    assert torch.equal(again(states[:1]), states[:1] / 2 + inputs[:1])
    assert chosen.for_samples(torch.tensor([], dtype=torch.int64)).held_samples == 0
    with pytest.raises(IndexError):
        equilibrium.for_samples(torch.tensor([5]))


def test_map_for_one_sample_takes_any_number_of_states(equilibrium: FunctionMap, inputs: Tensor) -> None:
    one = equilibrium.for_samples(torch.tensor([3]))
    states = random(7, 4, seed=1).to(inputs.device)
    assert torch.equal(one(states), states / 2 + inputs[3])
    assert torch.equal(one.for_samples(torch.tensor([6, 2]))(states[[6, 2]]), states[[6, 2]] / 2 + inputs[3])
    solution = newton(one, states[0])
    assert solution.is_fixed_point
    torch.testing.assert_close(solution.state, 2 * inputs[3], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(spectral_radius(one, states).cpu(), torch.full((7,), 0.5, dtype=torch.float64))
    for count in (0, 4, 6):
        with pytest.raises(ValueError, match=rf"{count} states for a map that holds the inputs of 5 samples"):
            equilibrium(torch.zeros(count, 4, dtype=torch.float64, device=inputs.device))


class Equilibrium(nn.Module):
    """`f(z, (x, y))`: a layer of weights with an input, and labels that choose a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 6)
        self.classes = nn.Embedding(3, 6)

    def forward(self, states: Tensor, inputs: tuple[Tensor, Tensor]) -> Tensor:
        x, y = inputs
        return torch.tanh(self.layer(states.flatten(1)) * x + self.classes(y)).reshape(states.shape)


def test_derivatives_with_inputs_held(device: torch.device) -> None:
    module = Equilibrium().to(device)
    x, y = np.random.default_rng(0).standard_normal((4, 6)), torch.tensor([2, 0, 1, 2])
    system = as_map(module, (2, 3), inputs=(x, y))
    assert system.inputs is not None
    assert [value.dtype for value in system.inputs] == [torch.float32, torch.int64]
    assert {value.device.type for value in system.inputs} == {device.type}
    exact = float64_copy(system)
    assert exact.inputs is not None
    assert [value.dtype for value in exact.inputs] == [torch.float64, torch.int64]
    reference = Equilibrium().to(device).double()
    held = torch.from_numpy(x.astype(np.float32)).double().to(device)
    states, vectors = random(4, 6).to(device), random(4, 6, seed=1).to(device)
    expected = torch.cat(
        [
            jacobian_by_rows(
                lambda state, row=row: reference(state, (held[row : row + 1], y[row : row + 1].to(device))),
                states[row : row + 1],
                (2, 3),
            )
            for row in range(4)
        ]
    )
    torch.testing.assert_close(exact.jacobian(states), expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(exact.jvp(states, vectors), torch.einsum("bij,bj->bi", expected, vectors))
    torch.testing.assert_close(exact.vjp(states, vectors), torch.einsum("bij,bi->bj", expected, vectors))
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(exact.for_samples(rows).jacobian(states[rows]), expected[rows], rtol=1e-13, atol=1e-15)
    one = exact.for_samples(torch.tensor([2]))
    torch.testing.assert_close(one.jacobian(states)[2], expected[2], rtol=1e-13, atol=1e-15)


def test_choice_of_samples_shares_parameters_and_copies_inputs(device: torch.device) -> None:
    x = torch.rand(4, 6, device=device)
    system = as_map(Equilibrium().to(device), (6,), inputs=(x, torch.zeros(4, dtype=torch.int64, device=device)))
    chosen = system.for_samples(torch.tensor([0, 1]))
    assert all(found is given for found, given in zip(chosen.parameters(), system.parameters(), strict=True))
    before = system(torch.ones(4, 6, device=device))
    x.zero_()
    assert torch.equal(system(torch.ones(4, 6, device=device)), before)


def test_hash_tells_inputs_apart() -> None:
    def halve(states: Tensor, x: Tensor) -> Tensor:
        return states / 2 + x

    x = random(3, 4)
    system = as_map(halve, (4,), inputs=x)
    others = [x[:2], x + 1e-9, x.float(), x[[1, 0, 2]]]
    hashes = {map_hash(as_map(halve, (4,), inputs=other)) for other in others}
    assert len({map_hash(system), *hashes}) == 5
    assert map_hash(as_map(halve, (4,), inputs=x.numpy())) == map_hash(system)
    assert map_hash(system.for_samples(torch.arange(2))) == map_hash(as_map(halve, (4,), inputs=x[:2]))
    shapes = {map_hash(as_map(torch.tanh, shape)) for shape in ((2, 6), (3, 4), (12,))}
    assert len(shapes) == 3


def test_function_of_float64_tensors_asks_for_float64(device: torch.device) -> None:
    matrix = random(4, 4).to(device)
    system = as_map(lambda states: torch.tanh(states @ matrix), (4,))
    home = next(system.buffers())
    assert (home.dtype, home.device.type) == (torch.float64, device.type)
    labels = torch.arange(3, device=device)
    with_labels = as_map(lambda states, y: torch.tanh(states @ matrix) + y[:, None], (4,), inputs=labels)
    chosen = with_labels.for_samples(torch.tensor([2]))
    assert next(chosen.buffers()).dtype == torch.float64
    check_states(chosen, torch.zeros(1, 4, dtype=torch.float64, device=device))


def test_float64_copy_says_what_does_not_follow(device: torch.device) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.matrix = torch.eye(4, device=device)  # no buffer

        def forward(self, states: Tensor) -> Tensor:
            return self.layer(states) @ self.matrix

    system = as_map(Forgetful().to(device), (4,))
    with pytest.raises(ValueError, match=r"dtype or device than its states: matrix \(torch\.float32\)"):
        float64_copy(system)


@pytest.mark.parametrize("shape", [(), (0,), (2, -1), (2.0,), (True,), 4, "ab"])
def test_shapes_that_are_none(shape: object) -> None:
    with pytest.raises(ValueError, match=r"state_shape is .*, expected a tuple of positive integers"):
        unchecked_as_map(torch.tanh, shape)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "inputs is an empty tuple, expected at least one tensor"),
        ([torch.zeros(3)], "inputs is of type list, expected a tensor or a numpy array"),
        ((torch.zeros(3, 1), 2.0), r"inputs\[1\] is of type float, expected a tensor or a numpy array"),
        (np.array(["a", "b"]), "inputs is of type <U1, expected numbers"),
        (torch.tensor(1.0), r"inputs has shape \(\), expected \(samples, \.\.\.\) with at least 1 sample"),
        (torch.zeros(0, 4), r"inputs has shape \(0, 4\), expected \(samples, \.\.\.\) with at least 1 sample"),
        (torch.tensor([1.0, float("nan")]), "inputs is not finite in row 1"),
        ((torch.zeros(3), torch.zeros(4)), r"inputs\[1\] has 4 rows, expected 3 as inputs\[0\] has"),
    ],
)
def test_inputs_that_are_none(inputs: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        unchecked_as_map(lambda states, x: states, (4,), inputs=inputs)


def test_what_cannot_be_called_or_copied() -> None:
    with pytest.raises(ValueError, match="function_or_module is 3, expected a torch module or a function"):
        unchecked_as_map(3, (4,))
    module = nn.Linear(4, 4)
    module.derived = module.weight * 2  # type: ignore[assignment]
    with pytest.raises(ValueError, match="function_or_module cannot be copied: Only Tensors created explicitly"):
        as_map(module, (4,))


def test_a_module_of_torchscript_is_refused_in_a_line():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    expected = (
        "^function_or_module is compiled by TorchScript, or a part of it is, .*: expected the module it was made of"
    )
    with pytest.raises(ValueError, match=expected):
        as_map(scripted, (4,))
