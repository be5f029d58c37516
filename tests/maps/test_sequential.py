"""A `nn.Sequential` of layers is known as such; whatever might do something else is a function like any other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import dynlab as dl
from dynlab.dynamics.certificates import CertificateStatus
from dynlab.maps import float64_copy
from dynlab.maps.sequential import layers_of


def _image_autoencoder() -> nn.Module:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 5, bias=False))
    decoder = nn.Sequential(
        OrderedDict(inner=nn.Linear(5, 9), ramp=nn.ReLU(), outer=nn.Linear(9, 12), to_unit=nn.Sigmoid())
    )
    return nn.Sequential(encoder, nn.Identity(), decoder, nn.Unflatten(1, (1, 3, 4)))


def _flat_autoencoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 9), nn.Sigmoid(), nn.Linear(9, 4))


def _one_layer() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh())


MODULES = {
    "images": (_image_autoencoder, (1, 3, 4), ["tanh", "identity", "relu", "sigmoid"], 5),
    "flat": (_flat_autoencoder, (4,), ["sigmoid", "identity"], 9),
    "one layer": (_one_layer, (4,), ["tanh"], None),
}


@pytest.mark.parametrize("name", MODULES)
def test_derivatives_are_those_of_the_module_itself(name: str, device: torch.device):
    make, shape, nonlinearities, rank = MODULES[name]
    torch.manual_seed(0)
    module = make()
    system = dl.as_map(module, shape).to(device)
    layers = system.layers()
    assert layers is not None
    assert [layer.nonlinearity for layer in layers] == nonlinearities

    exact, reference = float64_copy(system), module.eval().double().to(device)
    states = torch.rand(6, system.dim, dtype=torch.float64, device=device)

    def flat(state: torch.Tensor) -> torch.Tensor:
        return reference(state.reshape(1, *shape)).flatten()

    jacobians = torch.stack([torch.autograd.functional.jacobian(flat, state) for state in states])
    tangents = torch.randn_like(states)
    torch.testing.assert_close(exact.jacobian(states), jacobians, rtol=1e-12, atol=1e-14)
    for found, expected in (
        (exact.jvp(states, tangents), jacobians @ tangents[:, :, None]),
        (exact.linearized(states)(tangents), jacobians @ tangents[:, :, None]),
        (exact.vjp(states, tangents), jacobians.mT @ tangents[:, :, None]),
    ):
        torch.testing.assert_close(found, expected[:, :, 0], rtol=1e-12, atol=1e-14)
    factors = exact.jacobian_factors(states)
    assert (None if factors is None else factors[0].shape[2]) == rank


class _Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        return 2 * super().forward(input)


def _halved(_module: nn.Module, _states: tuple[torch.Tensor, ...], found: torch.Tensor) -> torch.Tensor:
    return found / 2


def _with_hook(part: int) -> nn.Module:
    module = _flat_autoencoder()
    module[part].register_forward_hook(_halved)
    return module


def _with_hook_of_its_own() -> nn.Module:
    module = _flat_autoencoder()
    module.register_forward_pre_hook(lambda _module, states: (states[0] / 2,))
    return module


def _with_another_forward() -> nn.Module:
    module = _flat_autoencoder()
    module.forward = torch.sin
    return module


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "a convolution": lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten()),
    "another nonlinearity": lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU()),
    "a nonlinearity first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 4)),
    "two nonlinearities": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sigmoid()),
    "a normalization": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "no layer": lambda: nn.Sequential(nn.Flatten(), nn.Identity()),
    "nothing": nn.Sequential,
    "a subclass": lambda: nn.Sequential(_Doubled(4, 4), nn.Tanh()),
    "a hook": lambda: _with_hook(1),
    "a hook of a layer": lambda: _with_hook(0),
    "a hook of its own": _with_hook_of_its_own,
    "another forward": _with_another_forward,
    "a parametrization": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_may_do_anything_else_is_a_function(name: str):
    torch.manual_seed(0)
    module = OTHERS[name]()
    system = dl.as_map(module, (4,))
    assert system.layers() is None
    assert system.jacobian_factors(torch.rand(2, 4)) is None
    states = torch.rand(3, 4)
    torch.testing.assert_close(system(states), module.eval()(states))


def test_layers_along_the_last_axis_of_images_are_no_layers_of_flat_states():
    system = dl.as_map(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()), (3, 4))
    assert system.layers() is None
    assert system.jacobian(torch.rand(2, 12)).shape == (2, 12, 12)


def test_a_module_for_other_states_has_no_layers():
    assert layers_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), (3, 3)) is None
    assert layers_of(nn.Sequential(nn.Linear(4, 3)), (4,)) is None


def test_its_attractors_are_certified_and_their_number_is_known():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.Sigmoid())
    analysis = dl.analyse(dl.as_map(module, (6,)), torch.rand(20, 6))
    assert {found.status for found in analysis.results.certificates} == {CertificateStatus.ESTIMATED}
    assert analysis.results.index_sum is not None
    proved = dl.certify(dl.as_map(module, (6,)), analysis.arrays.fixed_points[0], method="proof")
    assert proved.status is CertificateStatus.PROVED
    assert proved.index == 1
