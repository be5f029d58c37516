"""The gradients written out by hand against those of torch's autograd, and members at once against members alone."""

from __future__ import annotations

import copy
import inspect
import itertools
import re
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder
from dynlab.training.backpropagation import GradientDescent, Parameters
from dynlab.training.objective import Loss, Objective, Variant, objective_value

DIM, HIDDEN = 9, 5
LEARNING_RATE = 0.1
PAIRS = [("sigmoid", "sigmoid"), ("tanh", "identity"), ("relu", "tanh"), ("identity", "relu")]
PAIRS_OF_LOSSES = [("squared-error", *pair) for pair in PAIRS] + [
    ("cross-entropy", f, "sigmoid") for f in NONLINEARITIES
]
VARIANTS = get_args(Variant)


def random_autoencoder(
    device: torch.device, *, tied: bool = False, f: str = "sigmoid", g: str = "sigmoid", seed: int = 3
) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(DIM, HIDDEN, tied=tied, hidden_nonlinearity=f, output_nonlinearity=g)
    generator = torch.Generator().manual_seed(seed)
    for parameter in autoencoder.parameters():
        # Small, so that the unbounded nonlinearities do not diverge.
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return autoencoder.double().to(device)


def minibatches(device: torch.device, sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    pairs = []
    for size in sizes:
        clean = torch.rand(size, DIM, dtype=torch.float64, generator=generator)
        noise = torch.randn(size, DIM, dtype=torch.float64, generator=generator)
        pairs.append((clean.to(device), (clean + 0.4 * noise).to(device)))
    return pairs


def check_against_autograd(
    autoencoder: DenoisingAutoencoder,
    objective: Objective,
    batches: list[tuple[Tensor, Tensor]],
    *,
    rate: float = LEARNING_RATE,
    tolerance: float = 1e-12,
) -> None:
    """Each step against one of autograd in float64; `tolerance` is relative to how far the parameters move."""
    reference = copy.deepcopy(autoencoder).double()
    start = copy.deepcopy(reference)
    optimizer = torch.optim.SGD(reference.parameters(), lr=rate)
    descent = GradientDescent(autoencoder, objective)
    for clean, corrupted in batches:
        found = descent.step(clean, corrupted, rate)
        expected = objective_value(reference, clean.double(), corrupted.double(), objective)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        torch.testing.assert_close(found.double(), expected.detach() * len(clean), rtol=tolerance, atol=0)
    for (name, found), expected, before in zip(
        autoencoder.named_parameters(), reference.parameters(), start.parameters(), strict=True
    ):
        moved = (expected - before).norm()
        assert 1e-5 < moved < 1e3, f"{name} moved by {moved}: nothing is compared"
        assert (found - expected).norm() <= tolerance * moved, name


@pytest.mark.parametrize("contraction", [0.0, 0.7])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("loss", "f", "g"), PAIRS_OF_LOSSES)
def test_weights_equal_those_of_autograd(
    loss: Loss, f: str, g: str, tied: bool, contraction: float, device: torch.device
) -> None:
    assert {name for _, *pair in PAIRS_OF_LOSSES for name in pair} == set(NONLINEARITIES)
    for variant, walkback in itertools.product(VARIANTS, (1, 2, 5)):
        autoencoder = random_autoencoder(device, tied=tied, f=f, g=g)
        objective = Objective(walkback, variant, loss, contraction)
        check_against_autograd(autoencoder, objective, minibatches(device, (6, 6, 6)))


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_in_float32_is_that_in_float64(variant: Variant, loss: Loss, device: torch.device) -> None:
    pairs = [(clean.float(), corrupted.float()) for clean, corrupted in minibatches(device, (6,))]
    autoencoder = random_autoencoder(device).float()
    # At this rate parameters move far enough that their own rounding is no matter.
    check_against_autograd(autoencoder, Objective(3, variant, loss, 0.7), pairs, rate=10.0, tolerance=1e-5)


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("variant", ["full", "last"])
def test_gradients_are_difference_quotients(variant: Variant, loss: Loss) -> None:
    objective, rate, shift = Objective(3, variant, loss, 0.7), 1e-3, 1e-5
    [(clean, corrupted)] = minibatches(torch.device("cpu"), (4,))
    autoencoder = random_autoencoder(torch.device("cpu"))
    before = copy.deepcopy(autoencoder)
    GradientDescent(autoencoder, objective).step(clean, corrupted, rate)
    for name, parameter in before.named_parameters():
        gradient = (parameter - autoencoder.get_parameter(name)).detach().view(-1) / rate
        for index in range(0, parameter.numel(), 7):
            values = []
            for sign in (1, -1):
                moved = copy.deepcopy(before)
                moved.get_parameter(name).data.view(-1)[index] += sign * shift
                values.append(objective_value(moved, clean, corrupted, objective).item())
            quotient = (values[0] - values[1]) / (2 * shift)
            assert gradient[index].item() == pytest.approx(quotient, rel=1e-6, abs=1e-8), (name, index)


def test_minibatches_of_changing_sizes_do_not_mix(device: torch.device) -> None:
    objective = Objective(3, "full", "cross-entropy", 0.7)
    check_against_autograd(random_autoencoder(device), objective, minibatches(device, (6, 2, 6, 1, 2, 6)))


def test_a_decoder_stored_by_columns_is_trained_alike(device: torch.device) -> None:
    autoencoder = random_autoencoder(device)
    weight = autoencoder.decoder["weight"]
    weight.data = weight.data.t().contiguous().t()
    check_against_autograd(autoencoder, Objective(2), minibatches(device, (6, 6)))


def side_by_side(autoencoders: list[DenoisingAutoencoder], *, tied: bool) -> Parameters:
    """Their parameters, stacked; the decoders by columns, as training stores them."""
    each = [Parameters.of(autoencoder) for autoencoder in autoencoders]
    w1 = torch.stack([one.w1 for one in each])
    w2 = w1.mT if tied else torch.stack([one.w2.mT for one in each]).mT
    b1, b2 = torch.stack([one.b1 for one in each]), torch.stack([one.b2 for one in each])
    return Parameters(w1, b1, w2, b2, each[0].hidden_nonlinearity, each[0].output_nonlinearity)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("loss", "f", "g"), PAIRS_OF_LOSSES)
def test_members_at_once_are_members_alone(loss: Loss, f: str, g: str, tied: bool, device: torch.device) -> None:
    for variant, contraction in zip(VARIANTS, (0.0, 0.7, 0.7), strict=True):
        objective = Objective(3, variant, loss, contraction)
        autoencoders = [random_autoencoder(device, tied=tied, f=f, g=g, seed=seed) for seed in range(4)]
        starts = [Parameters.of(copy.deepcopy(autoencoder)) for autoencoder in autoencoders]
        together = side_by_side(autoencoders, tied=tied)
        rates = [0.1, 0.03, 0.0, 0.2]
        descent = GradientDescent(together, objective)
        for round_ in range(3):
            pairs = minibatches(device, (6,) * 12)[4 * round_ : 4 * round_ + 4]
            clean, corrupted = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
            if round_ == 2:  # the same images for all
                clean = clean[:1].expand_as(clean)
            found = descent.step(clean, corrupted, torch.tensor(rates, dtype=torch.float64, device=device))
            expected = [
                GradientDescent(autoencoder, objective).step(clean[member], corrupted[member], rates[member])
                for member, autoencoder in enumerate(autoencoders)
            ]
            torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=0)
        for member, (autoencoder, start) in enumerate(zip(autoencoders, starts, strict=True)):
            alone = Parameters.of(autoencoder)
            for name in ("w1", "b1", "w2", "b2"):
                expected, before = getattr(alone, name), getattr(start, name)
                moved = (expected - before).norm()
                assert moved > 1e-5 or rates[member] == 0
                difference = (getattr(together, name)[member] - expected).norm()
                assert difference <= 1e-12 * moved, (objective, name, member)


def test_no_member_touches_another(device: torch.device) -> None:
    autoencoders = [random_autoencoder(device, seed=seed) for seed in range(3)]
    together = side_by_side(autoencoders, tied=False)
    clean, corrupted = (torch.stack(tensors) for tensors in zip(*minibatches(device, (6,) * 3), strict=True))
    corrupted[1] = torch.nan
    rates = torch.full((3,), 0.1, dtype=torch.float64, device=device)
    value = GradientDescent(together, Objective(2, contraction=0.7)).step(clean, corrupted, rates)
    for tensor in (value, together.w1, together.b1, together.w2, together.b2):
        assert [bool(member.isfinite().all()) for member in tensor] == [True, False, True]


@pytest.mark.parametrize("variant", VARIANTS)
def test_cross_entropy_of_saturated_outputs(variant: Variant, device: torch.device) -> None:
    # In float32 these outputs are exactly 1, 0, 1 and 0; the first two should be otherwise.
    autoencoder = DenoisingAutoencoder(4, 3).to(device)
    with torch.no_grad():
        autoencoder.decoder["bias"].copy_(torch.tensor([200.0, -200.0, 200.0, -200.0]))
    clean = torch.tensor([[0.0, 0.75, 1.0, 0.0], [1.0, 0.0, 0.5, 0.0]], device=device)
    before = autoencoder.decoder["bias"].detach().double()
    value = GradientDescent(autoencoder, Objective(2, variant, "cross-entropy")).step(clean, clean, 64.0)
    assert value.item() == pytest.approx(100 * (1 + 0.75 + 0.5))
    gradient = (before - autoencoder.decoder["bias"].double()) / 64
    expected = torch.tensor([[1.0, -0.75, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]], device=device).mean(dim=0).double()
    # Two steps, of which each has the whole error on the average, and no slope lets an error through to the first.
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)
    assert all(bool(parameter.isfinite().all()) for parameter in autoencoder.parameters())


def objectives() -> list[Objective]:
    return [Objective(3, *rest) for rest in itertools.product(VARIANTS, get_args(Loss), (0.0, 0.7))]


@pytest.mark.parametrize("f", NONLINEARITIES)
def test_a_step_asks_for_no_number(f: str) -> None:
    """Tensors on "meta" have shapes and no numbers: what waits for one, as no CUDA graph may, raises there."""
    for objective in objectives():
        alone = Parameters.of(random_autoencoder(torch.device("cpu"), f=f))
        shapes = [(4, *tensor.shape) for tensor in (alone.w1, alone.b1, alone.w2, alone.b2)]
        together = Parameters(*(torch.empty(shape, device="meta") for shape in shapes), hidden_nonlinearity=f)
        images, rates = torch.empty(4, 6, DIM, device="meta"), torch.empty(4, device="meta")
        assert GradientDescent(together, objective).step(images, images, rates).shape == (4,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU")
def test_a_step_can_be_captured_in_a_cuda_graph() -> None:
    device = torch.device("cuda")
    clean, corrupted = (torch.stack(tensors) for tensors in zip(*minibatches(device, (6,) * 4), strict=True))
    rates = torch.tensor([0.1, 0.03, 0.0, 0.2], dtype=torch.float64, device=device)
    for objective in objectives():
        captured, plain = (
            side_by_side([random_autoencoder(device, seed=seed) for seed in range(4)], tied=False) for _ in range(2)
        )
        descent, graph, side = GradientDescent(captured, objective), torch.cuda.CUDAGraph(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            descent.step(clean, corrupted, rates)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):  # captured, not taken
            value = descent.step(clean, corrupted, rates)
        expected = torch.zeros_like(value)
        for step in range(3):
            if step > 0:
                graph.replay()
            expected = GradientDescent(plain, objective).step(clean, corrupted, rates)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
        for name in ("w1", "b1", "w2", "b2"):
            torch.testing.assert_close(getattr(captured, name), getattr(plain, name), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("g", ["tanh", "relu", "identity"])
def test_cross_entropy_of_other_outputs_is_refused(g: str) -> None:
    message = f"loss is 'cross-entropy' where the output nonlinearity is {g!r}, expected 'squared-error'"
    with pytest.raises(InputError, match=message):
        GradientDescent(DenoisingAutoencoder(DIM, HIDDEN, output_nonlinearity=g), Objective(loss="cross-entropy"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w1": torch.zeros(2)}, "w1 has shape (2,), expected (hidden, dim) or (members, hidden, dim)"),
        ({"b1": torch.zeros(HIDDEN)}, "b1 has shape (5,), expected (2, 5)"),
        ({"w2": torch.zeros(2, HIDDEN, DIM)}, "w2 has shape (2, 5, 9), expected (2, 9, 5)"),
        ({"b2": torch.zeros(3, DIM)}, "b2 has shape (3, 9), expected (2, 9)"),
        ({"hidden_nonlinearity": "cosine"}, "hidden_nonlinearity is 'cosine', expected one of sigmoid, tanh"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(changed: dict[str, Any], message: str) -> None:
    shapes = {"w1": (2, HIDDEN, DIM), "b1": (2, HIDDEN), "w2": (2, DIM, HIDDEN), "b2": (2, DIM)}
    given = {name: torch.zeros(shape) for name, shape in shapes.items()}
    parameters = object.__new__(Parameters)
    with pytest.raises(ValueError, match=re.escape(message)):
        inspect.unwrap(Parameters.__init__)(parameters, **{**given, **changed})
