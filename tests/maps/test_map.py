"""`Map`: derivatives against closed forms, what identifies a map, and what is refused."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dynlab.maps import DenoisingAutoencoder, Iterated, Layer, Map, check_states, float64_copy, map_hash


class Quadratic(Map):
    """`F(x)_i = a_i x_i^2 + x_{i+1}`, indices modulo the dimension; it only defines `forward`."""

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__(len(coefficients))
        self.coefficients = torch.nn.Parameter(coefficients)

    def forward(self, states: Tensor) -> Tensor:
        return self.coefficients * states**2 + states.roll(-1, dims=1)


def quadratic_jacobians(coefficients: Tensor, states: Tensor) -> Tensor:
    shift = torch.eye(len(coefficients), dtype=states.dtype, device=states.device).roll(-1, dims=0)
    return torch.diag_embed(2 * coefficients * states) + shift


@pytest.fixture
def coefficients(device: torch.device) -> Tensor:
    return torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.float64, device=device)


@pytest.fixture
def states(device: torch.device) -> Tensor:
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(device)


def test_derivatives_come_from_forward_alone(coefficients: Tensor, states: Tensor) -> None:
    system = Quadratic(coefficients)
    expected = quadratic_jacobians(coefficients, states)
    assert expected[0, 0, 1] == expected[0, 3, 0] == 1  # entry [i, j]: output i with respect to input j
    vectors = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(states.device)
    found = system.jacobian(states)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(system.jvp(states, vectors), torch.einsum("bij,bj->bi", expected, vectors))
    torch.testing.assert_close(system.vjp(states, vectors), torch.einsum("bij,bi->bj", expected, vectors))
    assert system.jacobian_factors(states) is None
    assert not any(result.requires_grad for result in (found, system.jvp(states, vectors), system.vjp(states, vectors)))


class Network(Map):
    """`F(x) = tanh(A sigmoid(B x) + 1)`; it only defines `layers`."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__(len(a))
        self.a, self.b = a, b

    def layers(self) -> tuple[Layer, ...]:
        inner = Layer(self.b, self.b.new_zeros(len(self.b)), "sigmoid")
        return inner, Layer(self.a, self.a.new_ones(len(self.a)), "tanh")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_are_all_that_a_map_needs(dtype: torch.dtype, states: Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(size, dtype=torch.float64, generator=generator).to(states.device) for size in ((4, 2), (2, 4)))
    system, rounding = Network(a, b), 20 * torch.finfo(dtype).eps
    hidden = 1 / (1 + torch.exp(-states @ b.T))
    values = torch.tanh(hidden @ a.T + 1)
    jacobians = (1 - values**2)[:, :, None] * ((hidden * (1 - hidden))[:, None, :] * a) @ b
    rounded, vectors = states.to(dtype), states.flip(0).to(dtype)
    for found, expected in (
        (system(rounded), values),
        (system.jacobian(rounded), jacobians),
        (system.jvp(rounded, vectors), torch.einsum("bij,bj->bi", jacobians, states.flip(0))),
        (system.linearized(rounded)(vectors), torch.einsum("bij,bj->bi", jacobians, states.flip(0))),
        (system.vjp(rounded, vectors), torch.einsum("bij,bi->bj", jacobians, states.flip(0))),
    ):
        torch.testing.assert_close(found, expected.to(dtype), rtol=rounding, atol=rounding)
    factors = system.jacobian_factors(rounded)
    assert factors is not None
    assert (factors[0].shape, factors[1].shape) == ((3, 4, 2), (1, 2, 4))


def test_map_must_define_forward() -> None:
    with pytest.raises(NotImplementedError, match="Map must define forward"):
        Map(2)(torch.zeros(1, 2))


@pytest.mark.parametrize("dim", [0, -1])
def test_dimension_is_positive(dim: int) -> None:
    with pytest.raises(ValueError, match=f"dim is {dim}, expected at least 1"):
        Map(dim)


def test_state_shape_holds_the_dimension() -> None:
    assert Map(6).state_shape == (6,)
    assert Map(6, (2, 3)).state_shape == (2, 3)
    for shape in ((2, 2), (7,), (-2, -3), (6, 0)):
        with pytest.raises(ValueError, match=r"state_shape is \(.*\), expected a shape of 6 numbers"):
            Map(6, shape)


def test_float64_copy_leaves_the_map_alone(device: torch.device) -> None:
    system = Quadratic(torch.tensor([0.1, 0.2], device=device))
    exact = float64_copy(system)
    assert exact.coefficients.dtype == torch.float64
    assert system.coefficients.dtype == torch.float32
    assert torch.equal(exact.coefficients.float(), system.coefficients)
    with torch.no_grad():
        exact.coefficients.zero_()
    assert system.coefficients.abs().min() > 0
    states = torch.tensor([[0.3, 0.7]], dtype=torch.float64, device=device)
    assert exact(states).dtype == torch.float64


def test_hash_is_that_of_the_content(device: torch.device) -> None:
    torch.manual_seed(0)
    system = DenoisingAutoencoder(4, 3).to(device)
    twin = DenoisingAutoencoder(4, 3, state_shape=(4,), training={"sigma": 0.5})
    twin.load_state_dict(system.state_dict())
    assert map_hash(system) == map_hash(twin) == map_hash(system.cpu())
    assert len(map_hash(system)) == 64


def test_hash_changes_with_every_weight() -> None:
    system = DenoisingAutoencoder(4, 3)
    hashes = {map_hash(system)}
    entries = 0
    for parameter in system.parameters():
        for index in range(parameter.numel()):
            entries += 1
            with torch.no_grad():
                parameter.view(-1)[index] = 1e-30
                hashes.add(map_hash(system))
                parameter.view(-1)[index] = 0
    assert entries == 4 * 3 + 3 + 3 * 4 + 4
    assert len(hashes) == 1 + entries


def test_hash_changes_with_every_setting() -> None:
    systems = [
        DenoisingAutoencoder(4, 3),
        DenoisingAutoencoder(3, 4),
        DenoisingAutoencoder(4, 4),
        DenoisingAutoencoder(4, 3, tied=True),
        DenoisingAutoencoder(4, 3, hidden_nonlinearity="tanh"),
        DenoisingAutoencoder(4, 3, output_nonlinearity="tanh"),
        float64_copy(DenoisingAutoencoder(4, 3)),
        Map(4),
        Map(5),
        Quadratic(torch.zeros(4)),
    ]
    assert len({map_hash(system) for system in systems}) == len(systems)


def test_hash_of_a_map_of_ones_own_is_that_of_its_code_and_attributes() -> None:
    def made(bend: Callable[[Tensor], Tensor], slope: Any) -> Map:
        class Bent(Map):
            def __init__(self) -> None:
                super().__init__(1)
                self.slope = slope

            def forward(self, states: Tensor) -> Tensor:
                return bend(self.slope * states)

        return Bent()

    slopes = (2.0, 2.5, torch.tensor(2.0))
    hashes = [map_hash(made(bend, slope)) for bend in (torch.tanh, torch.sin) for slope in slopes]
    assert len(set(hashes)) == 6
    system = made(torch.tanh, 2.0)
    assert map_hash(system) == map_hash(system.eval()) == map_hash(made(torch.tanh, 2.0)) == hashes[0]
    assert len({map_hash(Iterated(made(torch.tanh, slope), 2)) for slope in slopes}) == 3
    with pytest.raises(ValueError, match=r"^Bent.*slope is a .*lock, whose content cannot be read"):
        map_hash(made(torch.tanh, threading.Lock()))


def test_what_a_property_keeps_does_not_change_the_hash() -> None:
    class Caching(Map):
        @functools.cached_property
        def slope(self) -> Tensor:
            return torch.tensor(0.5)

        def forward(self, states: Tensor) -> Tensor:
            return self.slope.to(states) * states

    used = Caching(2)
    used(torch.ones(1, 2))
    assert "slope" in vars(used)
    assert map_hash(used) == map_hash(Caching(2))


def test_hash_is_the_same_in_a_process_that_a_program_spawns(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import multiprocessing
import torch
from dynlab.maps import Map, map_hash

class Halving(Map):
    def forward(self, states):
        return states / 2

def hashed(_):
    return map_hash(Halving(2))

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(hashed(0), *pool.map(hashed, [0]))
""")
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=120)
    here, there = run.stdout.split()
    assert here == there


def test_every_type_of_torch_can_be_hashed() -> None:
    system = Map(2)
    for number, value in enumerate((torch.tensor(1.5, dtype=torch.bfloat16), torch.zeros(0), torch.ones(2) > 0, 1j)):
        before = map_hash(system)
        system.register_buffer(f"buffer{number}", torch.as_tensor(value))
        assert map_hash(system) != before


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (torch.zeros(3), r"start has shape \(3,\), expected \(batch, 3\)"),
        (torch.zeros(2, 4), r"start has shape \(2, 4\), expected \(batch, 3\)"),
        (torch.zeros(2, 3, dtype=torch.int64), r"start is of type torch.int64, expected floating point"),
        (torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, float("nan"), 0]]), "start is not finite in row 2"),
        (torch.tensor([[float("-inf"), 0, 0], [0, float("nan"), 0]]), "start is not finite in row 0"),
    ],
)
def test_states_that_are_none_are_named(states: Tensor, message: str, device: torch.device) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_states(Map(3), states.to(device), parameter="start")


def test_states_may_be_none_at_all() -> None:
    check_states(Map(3), torch.zeros(0, 3))
    check_states(Map(3), torch.zeros(2, 3, dtype=torch.float64))


def test_states_flat_and_shaped() -> None:
    states = torch.arange(12.0).reshape(2, 6)
    system = Map(6, (2, 3))
    assert torch.equal(system.shaped(states), states.reshape(2, 2, 3))
    assert torch.equal(system.flat(system.shaped(states)), states)
    assert torch.equal(system.flat(states), states)
    with pytest.raises(ValueError, match=r"states has shape \(2, 3, 2\), expected \(batch, 6\) or \(batch, 2, 3\)"):
        system.flat(states.reshape(2, 3, 2))
    with pytest.raises(ValueError, match=r"states has shape \(2, 6\), expected \(batch, 3\)$"):
        Map(3).flat(states)


def test_map_without_inputs_is_the_same_for_all_samples() -> None:
    system = Map(3)
    assert system.held_samples is None
    assert system.for_samples(torch.tensor([2, 0])) is system
