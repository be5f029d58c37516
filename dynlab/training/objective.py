"""Objectives of training, and the reconstruction errors that a trained map is judged by.

With `x_0` the corrupted input, `x_i = F(x_{i-1})` and `x` the clean one, of a sample, in three variants:

    full      1/k sum_{i=1..k} Err(x, x_i)                       the gradient goes through all k steps (equation 8)
    detached  1/k sum_{i=1..k} Err(x, F(x_{i-1}))                x_{i-1} kept as an input: through one step only
    last      Err(x, x_k)                                        through all k steps

    Err(x, o) = ||x - o||^2                                      squared error
    Err(x, o) = - sum x log o + (1 - x) log(1 - o)               cross-entropy, for images and outputs in [0, 1]

Both are summed over the pixels. Added to this is `contraction * ||dh/dx (x_0)||_F^2`, the squared Frobenius norm of the
Jacobian of the encoder `h` at the corrupted input. The objective is the mean over the samples. The variants are one
where k = 1: with squared errors that of a denoising autoencoder, equation 4. "detached" and "last" are the two
ablations that the report's discussion asks for.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 2;
Bengio, Yao, Alain and Vincent, Generalized Denoising Auto-Encoders as Generative Models, 2013 (walkback); Rifai,
Vincent, Muller, Glorot and Bengio, Contractive Auto-Encoders: Explicit Invariance During Feature Extraction, 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.errors import InputError, check_count
from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder, Map, flat_states
from dynlab.training.corruption import corrupt

Variant = Literal["full", "detached", "last"]
Loss = Literal["squared-error", "cross-entropy"]

LOWEST_LOG = -100.0  # what a logarithm counts at least in the cross-entropy, as in torch's

_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Objective:
    """What training minimizes; the module says the formulas.

    Raises:
        InputError: If a part of it is out of its range.
    """

    walkback: int = 1  # steps k, at least 1
    variant: Variant = "full"  # which of the k distances count, and how far gradients go
    loss: Loss = "squared-error"
    contraction: float = 0.0  # weight of the contractive penalty, at least 0

    def __post_init__(self) -> None:
        if not (isinstance(self.walkback, int) and self.walkback >= 1):
            raise InputError(f"walkback is {self.walkback!r}, expected an integer of at least 1")
        for name, choices in (("variant", get_args(Variant)), ("loss", get_args(Loss))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}")
        if not (math.isfinite(self.contraction) and self.contraction >= 0):
            raise InputError(f"contraction is {self.contraction!r}, expected a finite number of at least 0")


@dataclass(frozen=True)
class ReconstructionErrors:
    """Squared errors, summed over pixels and averaged over samples, in squared units of a pixel."""

    walkback: float  # equation 8: corrupted input, averaged over the walkback steps
    corrupted: float  # after one step from corrupted input, equation 4
    clean: float  # after one step from clean input, equation 3


def objective_value(
    system: Map, clean: Float[Tensor, "batch dim"], corrupted: Float[Tensor, "batch dim"], objective: Objective
) -> Float[Tensor, ""]:
    """An objective for one minibatch, for any map, with its gradient by autograd.

    In the cross-entropy a logarithm counts at least -100, so that it is finite where an output is exactly 0 or 1. Such
    an output of a sigmoid passes no gradient down by autograd; `GradientDescent` knows that it is `x_i - x`.

    Args:
        system: The map `F`; the contractive penalty needs its `encode(states)`, from (batch, dim) to (batch, hidden).
        clean: What to come back to, shape (batch, dim); within [0, 1] for the cross-entropy.
        corrupted: Where to start, shape (batch, dim).
        objective: Which one.

    Raises:
        InputError: If `objective` has a contractive penalty and `system` no encoder, or if, for the cross-entropy,
            clean images or outputs leave [0, 1].
    """
    check_objective(system, objective)
    outputs = _outputs(system, corrupted, objective.walkback, detached=objective.variant == "detached")
    judged = outputs[-1:] if objective.variant == "last" else outputs
    error = _squared_error
    if objective.loss == "cross-entropy":
        error = _cross_entropy
        _check_unit_interval("clean", [clean])
        _check_unit_interval("an output of the map", judged)
    value = torch.stack([error(clean, output).mean() for output in judged]).mean()
    if objective.contraction > 0:
        value = value + objective.contraction * squared_encoder_jacobian(system, corrupted).mean()
    return value


def check_objective(system: Map, objective: Objective) -> None:
    """Check that an objective can be had of a map.

    Raises:
        InputError: If there is a contractive penalty and no encoder, or a cross-entropy and a last layer that is known
            to leave [0, 1].
    """
    if objective.contraction > 0 and not callable(getattr(system, "encode", None)):
        raise InputError(
            f"contraction is {objective.contraction:g}, expected 0 for a {type(system).__name__}, which has no `encode`"
        )
    layers = system.layers() if objective.loss == "cross-entropy" else None
    if layers:
        check_output_nonlinearity(layers[-1].nonlinearity, objective)


def check_output_nonlinearity(nonlinearity: str, objective: Objective) -> None:
    """Check that an objective can be had of outputs of this nonlinearity.

    Raises:
        InputError: If it is a cross-entropy, and they are no sigmoids.
    """
    if objective.loss == "cross-entropy" and nonlinearity != "sigmoid":
        raise InputError(
            f"loss is 'cross-entropy' where the output nonlinearity is {nonlinearity!r}, expected 'squared-error' there"
        )


def squared_encoder_jacobian(system: Map, states: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Squared Frobenius norm of the Jacobian of the encoder, `||dh/dx||_F^2`, at each state; with its gradient.

    One hidden layer `h = f(W x + b)` has `sum_j f'_j^2 sum_i W_ji^2`; of any other encoder the Jacobian is computed.

    Args:
        system: A map with `encode(states)`, from (batch, dim) to (batch, hidden), row by row.
        states: Where to linearize, shape (batch, dim).

    Source: Rifai et al., Contractive Auto-Encoders, 2011, equations 2 and 9.
    """
    encode = cast("Callable[[Tensor], Tensor]", system.encode)
    if isinstance(system, DenoisingAutoencoder):
        slopes = NONLINEARITIES[system.hidden_nonlinearity].derivative_from_value(encode(states))
        return slopes.square() @ system.encoder["weight"].square().sum(dim=1)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda state: encode(state[None])[0]))(states)
    return jacobians.square().sum(dim=(1, 2))


def walkback_objective(
    system: Map, clean: Float[Tensor, "batch dim"], corrupted: Float[Tensor, "batch dim"], walkback: int
) -> Float[Tensor, ""]:
    """Equation 8 for one minibatch; its gradient goes through all the steps.

    Args:
        system: The map `F`.
        clean: What to come back to, shape (batch, dim).
        corrupted: Where to start, shape (batch, dim).
        walkback: The number of steps k, at least 1.

    Raises:
        InputError: If `walkback` is below 1.
    """
    return objective_value(system, clean, corrupted, Objective(walkback))


@torch.no_grad()
def reconstruction_errors(
    system: Map,
    images: Float[Tensor, " samples *state"],
    *,
    sigma: float | None = None,
    walkback: int,
    seed: int,
    corruption: str = "gaussian",
) -> ReconstructionErrors:
    """The walkback objective and the plain reconstruction errors of a map on a set of images.

    Every image is corrupted once, by the stream "evaluation" of `seed`, so that two maps are judged on the same noise.

    Args:
        system: The map; images go to its device and dtype, a block at a time.
        images: Shape (samples, dim), at least one.
        sigma: The corruption level, at least 0; None if `corruption` has its own.
        walkback: The number of steps k, at least 1.
        seed: From 0 to 2^63 - 1.
        corruption: How images are corrupted, as in `corrupt`.

    Raises:
        InputError: If `corruption` cannot be read, or does not suit the images.
        ValueError: If another argument is out of its range or `images` is not finite.
    """
    images = flat_states(system, images, parameter="images")
    if len(images) == 0:
        raise ValueError("images is empty, expected at least one sample")
    if sigma is not None and not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma is {sigma}, expected a finite number of at least 0")
    check_count("walkback", walkback, 1)
    like = next(system.parameters(), images)
    first = 0
    totals = torch.zeros(3, dtype=torch.float64, device=like.device)
    for rows in images.split(_BLOCK_ROWS):
        clean = rows.to(like)
        corrupted = corrupt(
            clean, corruption, level=sigma, seed=seed, state_shape=system.state_shape, first=first, stream="evaluation"
        )
        first += len(clean)
        outputs = _outputs(system, corrupted, walkback)
        from_corrupted = [_squared_error(clean, output).mean() for output in outputs]
        from_clean = _squared_error(clean, system(clean)).mean()
        errors = (torch.stack(from_corrupted).mean(), from_corrupted[0], from_clean)
        totals += len(rows) * torch.stack(errors).double()
    walkback_error, corrupted_error, clean_error = (totals / len(images)).tolist()
    return ReconstructionErrors(walkback=walkback_error, corrupted=corrupted_error, clean=clean_error)


def _outputs(system: Map, start: Tensor, steps: int, *, detached: bool = False) -> list[Tensor]:
    """`x_1` to `x_k`; if detached, each computed from a state before it that passes no gradient down."""
    states, outputs = start, []
    for _ in range(steps):
        outputs.append(system(states))
        states = outputs[-1].detach() if detached else outputs[-1]
    return outputs


def _squared_error(clean: Tensor, outputs: Tensor) -> Tensor:
    return (outputs - clean).square().sum(dim=1)


def _cross_entropy(clean: Tensor, outputs: Tensor) -> Tensor:
    return -(clean * _bounded_log(outputs) + (1 - clean) * _bounded_log(1 - outputs)).sum(dim=1)


def _bounded_log(values: Tensor) -> Tensor:
    """Logarithm, at least `LOWEST_LOG`, whose gradient at 0 is 0 and not infinite; NaN stays NaN."""
    zero = values == 0
    return values.masked_fill(zero, 1).log().masked_fill(zero, LOWEST_LOG).clamp(min=LOWEST_LOG)


def _check_unit_interval(name: str, values: list[Tensor]) -> None:
    """Refuse numbers outside [0, 1], but not NaN: that is for who watches over divergence."""
    stacked = torch.stack(values).detach()
    outside = stacked[(stacked < 0) | (stacked > 1)]
    if len(outside) > 0:
        raise InputError(f"{name} is {outside[0].item():g}, expected from 0 to 1 where loss is 'cross-entropy'")
