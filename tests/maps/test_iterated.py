from __future__ import annotations

import pytest
import torch

from dynlab.dynamics import spectrum
from dynlab.maps import DenoisingAutoencoder, Map, map_hash
from dynlab.maps.classical import Henon, Hopfield, Logistic
from dynlab.maps.iterated import Iterated

from systems import jacobians


def autoencoder() -> DenoisingAutoencoder:
    system = DenoisingAutoencoder(6, 4).double()
    for parameter in system.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return system


def systems() -> list[Map]:
    patterns = torch.tensor([[1.0, -1, 1, 1, -1, 1], [1.0, 1, -1, 1, 1, -1]])
    return [Logistic(3.2).double(), Henon().double(), autoencoder(), Hopfield(patterns).double()]


@pytest.mark.parametrize("system", systems(), ids=lambda system: type(system).__name__)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_and_derivatives_are_those_of_repeated_steps(system: Map, steps: int, device: torch.device):
    system = system.to(device)
    iterated = Iterated(system, steps)
    states = torch.rand(5, system.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    expected = states
    for _ in range(steps):
        expected = system(expected)
    assert torch.equal(iterated(states), expected)
    plain = jacobians(iterated, states)
    torch.testing.assert_close(iterated.jacobian(states), plain, rtol=1e-6, atol=1e-6)
    tangents = torch.ones_like(states)
    for product in (iterated.jvp(states, tangents), iterated.linearized(states)(tangents)):
        torch.testing.assert_close(product, plain.sum(dim=2), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(iterated.vjp(states, tangents), plain.sum(dim=1), rtol=1e-6, atol=1e-6)
    factors = iterated.jacobian_factors(states)
    assert (factors is None) == (system.jacobian_factors(states) is None)
    if factors is not None:
        torch.testing.assert_close(factors[0] @ factors[1], plain, rtol=1e-6, atol=1e-6)
    layers, of_one = iterated.layers(), system.layers()
    assert (layers is None) == (of_one is None)
    if layers is not None and of_one is not None:
        assert len(layers) == len(of_one) * steps
        assert all(torch.equal(layer.weight, other.weight) for layer, other in zip(layers, of_one * steps, strict=True))


def test_a_cycle_is_a_fixed_point_with_the_multiplier_of_the_cycle():
    system = Logistic(3.2).double()
    states = system.two_cycle()
    twice = Iterated(system, 2)
    torch.testing.assert_close(twice(states), states, rtol=0.0, atol=1e-15)
    found = spectrum(twice, states).eigenvalues[:, 0].real.tolist()
    assert found == pytest.approx([4 + 2 * 3.2 - 3.2**2] * 2)


def test_other_numbers_of_steps_and_other_maps_are_other_maps():
    systems = [Iterated(Logistic(3.2), 2), Iterated(Logistic(3.2), 3), Iterated(Logistic(3.3), 2), Logistic(3.2)]
    assert len({map_hash(system) for system in systems}) == 4
    assert map_hash(Iterated(Logistic(3.2), 2)) == map_hash(systems[0])


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps is 0, expected at least 1"):
        Iterated(Logistic(3.2), 0)
