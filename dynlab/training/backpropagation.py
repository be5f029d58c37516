"""One step of gradient descent on an objective of a denoising autoencoder, its gradients written out by hand.

With `x_0` the corrupted input, `h_i = f(W1 x_{i-1} + b1)` and `x_i = g(W2 h_i + b2)`, backpropagation through all k
steps goes down from i = k. Summed over the minibatch, and up to a factor (`2 / (batch k)` for squared errors, half of
it for cross-entropies, k times as much in the variant "last"), it is

    o_i = g'(x_i) * (x_i - x + W1^T a_{i+1}),    a_{k+1} = 0         squared errors
    o_i = x_i - x + g'(x_i) * W1^T a_{i+1}                           cross-entropies, of sigmoid outputs
    a_i = f'(h_i) * (W2^T o_i)
    dW2 = sum_i o_i h_i^T,   db2 = sum_i o_i,   dW1 = sum_i a_i x_{i-1}^T,   db1 = sum_i a_i

In the variant "last" only `o_k` has its `x_k - x`; in "detached" no `o_i` has `W1^T a_{i+1}`. The contractive penalty
`c sum_j f'_j^2 r_j`, with the derivatives `f'_j` at `h_1` and `r_j = sum_i W1_ji^2`, has a factor `1 / batch` and adds

    2 c f'_j f''_j r_j    to a_1j
    2 c f'_j^2 W1_ji      to dW1_ji

With minibatches of 20 the weights are larger than everything else together, so what counts beside the operations is
how often they pass through the processor. Their gradients are never stored: the k steps are stacked into one product,
which is added straight to the weight. All else is computed in buffers that stay. The penalty needs no product, but two
more passes over W1.

A step takes, in units of `2 batch dim hidden` operations,

    full, last    6 k - 1    per step of the walkback two products forward, two backward (one less at the first, whose
                             input needs no gradient) and two for the weights
    detached      5 k        one backward, and that for all k steps at once

M autoencoders of one shape are trained side by side by the same code: their tensors have a leading dimension of length
M, and a product is a batch of M products. Everything is linear in the `x_i - x`, so these take up their learning rates.
Nothing waits for the device and no shape depends on data, so from the second step on, when the buffers are there, a
step can be captured in a CUDA graph.

Source: Werbos, Backpropagation Through Time: What It Does and How to Do It, 1990; Rifai, Vincent, Muller, Glorot and
Bengio, Contractive Auto-Encoders: Explicit Invariance During Feature Extraction, 2011; Bahdanau and Jaeger, Smart
Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder
from dynlab.training.objective import LOWEST_LOG, Objective, check_output_nonlinearity
from dynlab.training.products import products_for

# Called through the overloads themselves: looking one up at each call takes longer than what it computes.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_threshold_backward = torch.ops.aten.threshold_backward.grad_input

_LINE = 16  # numbers in 64 bytes of float32, the unit of caches and of vectors

# f'' / f' is this number less twice the value; where it is None, f'' is 0.
_BENDS = {"sigmoid": 1.0, "tanh": 0.0, "relu": None, "identity": None}


@dataclass(frozen=True)
class Parameters:
    """Of one denoising autoencoder, or of M, side by side, where each tensor has a leading dimension of length M.

    Tied weights are one tensor and its transposed view: `w2 = w1.mT`.

    Raises:
        ValueError: If shapes do not go together, or a nonlinearity is unknown.
    """

    w1: Float[Tensor, "*members hidden dim"]
    b1: Float[Tensor, "*members hidden"]
    w2: Float[Tensor, "*members dim hidden"]
    b2: Float[Tensor, "*members dim"]
    hidden_nonlinearity: str = "sigmoid"  # f
    output_nonlinearity: str = "sigmoid"  # g

    def __post_init__(self) -> None:
        if self.w1.ndim not in (2, 3):
            raise ValueError(f"w1 has shape {tuple(self.w1.shape)}, expected (hidden, dim) or (members, hidden, dim)")
        *members, hidden, dim = self.w1.shape
        for name, shape in (("b1", (hidden,)), ("w2", (dim, hidden)), ("b2", (dim,))):
            expected, found = (*members, *shape), tuple(getattr(self, name).shape)
            if found != expected:
                raise ValueError(f"{name} has shape {found}, expected {expected}")
        for name in ("hidden_nonlinearity", "output_nonlinearity"):
            if getattr(self, name) not in NONLINEARITIES:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(NONLINEARITIES)}")

    @staticmethod
    def of(autoencoder: DenoisingAutoencoder) -> Parameters:
        """The parameters of an autoencoder themselves, not copies, without their gradients."""
        return Parameters(
            autoencoder.encoder["weight"].detach(),
            autoencoder.encoder["bias"].detach(),
            autoencoder.decoder_weight.detach(),
            autoencoder.decoder["bias"].detach(),
            autoencoder.hidden_nonlinearity,
            autoencoder.output_nonlinearity,
        )


class GradientDescent:
    """Stochastic gradient descent on an objective of one denoising autoencoder or of M, whose parameters it changes.

    Steps are a little faster in `torch.inference_mode`; take all of them in it, or none, since the buffers are of the
    mode in which they were made.

    Args:
        trained: An autoencoder, or the parameters of one or of M of them. They must stay where they are, of one dtype
            and on one device.
        objective: What to go down.

    Raises:
        InputError: If the objective is a cross-entropy and the outputs are no sigmoids.
    """

    def __init__(self, trained: DenoisingAutoencoder | Parameters, objective: Objective) -> None:
        parameters = Parameters.of(trained) if isinstance(trained, DenoisingAutoencoder) else trained
        check_output_nonlinearity(parameters.output_nonlinearity, objective)
        self._objective = objective
        self._k, self._contraction = objective.walkback, objective.contraction
        self._averaged = 1 if objective.variant == "last" else objective.walkback
        self._factor = (1 if objective.loss == "cross-entropy" else 2) / self._averaged
        self._f, self._g = parameters.hidden_nonlinearity, parameters.output_nonlinearity
        self._w1, self._b1, self._w2, self._b2 = parameters.w1, parameters.b1, parameters.w2, parameters.b2
        self._has_members = parameters.w1.ndim == 3
        self._products = products_for(parameters.w1)
        self._buffers: dict[int, _Buffers] = {}

    def step(
        self,
        clean: Float[Tensor, "*members batch dim"],
        corrupted: Float[Tensor, "*members batch dim"],
        learning_rate: float | Float[Tensor, "*members"],
    ) -> Float[Tensor, "*members"]:
        """Go one step down the gradient of the objective of a minibatch.

        Args:
            clean: What to come back to, shape (batch, dim), with M members (M, batch, dim), each with a minibatch of
                its own; of the dtype and on the device of the parameters, within [0, 1] for the cross-entropy.
            corrupted: Where to start, likewise.
            learning_rate: What the gradient is multiplied with, a number; with M members a tensor of shape (M,).

        Returns:
            The objective before the step, summed over the samples of the minibatch: a scalar, with M members of shape
            (M,).
        """
        batch = clean.shape[-2]
        if batch not in self._buffers:
            self._buffers[batch] = _Buffers(batch, self._objective, self._w1)
        buffers = self._buffers[batch]
        buffers.states[0].copy_(corrupted)
        self._forward(buffers)

        torch.sub(buffers.judged_outputs, clean.unsqueeze(-3), out=buffers.judged_errors)
        value = self._error(buffers, clean)
        # The rate of one autoencoder is a number that its products take along; those of members are on the device.
        scale = -self._factor / batch
        if isinstance(learning_rate, (int, float)):
            scale *= learning_rate
        else:
            buffers.judged_errors.mul_(learning_rate[:, None, None, None])
        self._backward(buffers)

        # Tied weights are one tensor, which gets all products: it may change only now, when all is computed from it.
        if self._contraction > 0:
            value += self._contract(buffers, batch, learning_rate)
        update = self._products.update
        update(self._w2, buffers.stacked_output_gradients, buffers.stacked_hidden, scale)
        update(self._w1, buffers.stacked_hidden_gradients, buffers.stacked_inputs, scale)
        if self._has_members:
            # Not as a product of width 1, which a batch of one member takes by another routine than one of several.
            self._b2.add_(buffers.stacked_output_gradients.sum(dim=-2), alpha=scale)
            self._b1.add_(buffers.stacked_hidden_gradients.sum(dim=-2), alpha=scale)
        else:
            self._b2.addmv_(buffers.stacked_output_gradients.t(), buffers.ones, alpha=scale)
            self._b1.addmv_(buffers.stacked_hidden_gradients.t(), buffers.ones, alpha=scale)
        return value

    def _forward(self, buffers: _Buffers) -> None:
        """All `h_i` and `x_i` from `x_0`."""
        x, h, layer = buffers.states, buffers.hidden, self._products.layer
        for i in range(self._k):
            layer(x[i], self._w1, self._b1, self._f, h[i])
            layer(h[i], self._w2, self._b2, self._g, x[i + 1])

    def _error(self, buffers: _Buffers, clean: Tensor) -> Tensor:
        """The objective without its penalty, summed over the samples."""
        if self._objective.loss == "squared-error":
            errors = buffers.flat_errors
            total = torch.linalg.vector_norm(errors, dim=-1).square_() if self._has_members else errors.dot(errors)
        else:
            # x log o + (1 - x) log(1 - o) = x (log o - log(1 - o)) + log(1 - o)
            logs, other_logs = buffers.logs
            torch.log(buffers.judged_outputs, out=logs).clamp_(min=LOWEST_LOG)
            torch.neg(buffers.judged_outputs, out=other_logs).log1p_().clamp_(min=LOWEST_LOG)
            total = logs.sub_(other_logs).mul_(clean.unsqueeze(-3)).add_(other_logs).sum(dim=(-3, -2, -1)).neg_()
        return total.div_(self._averaged)

    def _backward(self, buffers: _Buffers) -> None:
        """All `o_i` and `a_i` from the errors `x_i - x`, where the `o_i` begin as these."""
        x, h, o, a = buffers.states, buffers.hidden, buffers.output_gradients, buffers.hidden_gradients
        squared, variant = self._objective.loss == "squared-error", self._objective.variant
        backward = self._products.backward
        if variant == "detached":
            if squared:
                _multiply_by_slope(self._g, buffers.judged_errors, buffers.judged_outputs)
            backward(buffers.stacked_output_gradients, self._w2, buffers.stacked_hidden_gradients)
            _multiply_by_slope(self._f, buffers.stacked_hidden_gradients, buffers.stacked_hidden)
            return
        for i in reversed(range(self._k)):
            if i + 1 == self._k:
                if squared:
                    _multiply_by_slope(self._g, o[i], x[i + 1])
            elif variant == "last":
                _multiply_by_slope(self._g, backward(a[i + 1], self._w1, o[i]), x[i + 1])
            elif squared:
                _multiply_by_slope(self._g, self._products.backward_onto(a[i + 1], self._w1, o[i]), x[i + 1])
            else:
                passed_down = backward(a[i + 1], self._w1, buffers.passed_down)
                _multiply_by_slope(self._g, passed_down, x[i + 1])
                o[i].add_(passed_down)
            _multiply_by_slope(self._f, backward(o[i], self._w2, a[i]), h[i])

    def _contract(self, buffers: _Buffers, batch: int, learning_rate: float | Tensor) -> Tensor:
        """The contractive penalty, summed over the samples: add its part to `a_1`, and take its step down in `W1`."""
        squared_slopes, bends = buffers.contraction
        squared_slopes.fill_(1)
        for _ in range(2):
            _multiply_by_slope(self._f, squared_slopes, buffers.hidden[0])
        squared_norms = torch.linalg.vector_norm(self._w1, dim=-1).square_()
        summed_slopes = squared_slopes.sum(dim=-2)
        value = summed_slopes.mul(squared_norms).sum(dim=-1).mul_(self._contraction)
        bend = _BENDS[self._f]
        if bend is not None:
            torch.mul(buffers.hidden[0], -2, out=bends).add_(bend)
            bends.mul_(squared_slopes).mul_(squared_norms.unsqueeze(-2))
            if isinstance(learning_rate, Tensor):
                bends.mul_(learning_rate[:, None, None])
            buffers.hidden_gradients[0].add_(bends, alpha=2 * self._contraction / self._factor)
        rate = learning_rate.unsqueeze(-1) if isinstance(learning_rate, Tensor) else learning_rate
        self._w1.mul_(summed_slopes.mul_(rate).mul_(-2 * self._contraction / batch).add_(1).unsqueeze(-1))
        return value


class _Buffers:
    """What one step computes for a minibatch of `batch`: by steps of the walkback and, the same memory, all of them."""

    def __init__(self, batch: int, objective: Objective, like: Float[Tensor, "*members hidden dim"]) -> None:
        *members, hidden, dim = like.shape
        k = objective.walkback
        judged = slice(k - 1, k) if objective.variant == "last" else slice(0, k)
        # Members first, so that the k steps of a member are one matrix.
        states, activations = apart(like, members, k + 1, batch, dim), apart(like, members, k, batch, hidden)
        errors, gradients = apart(like, members, k, batch, dim), apart(like, members, k, batch, hidden)
        inputs, outputs = states[..., :-1, :, :], states[..., 1:, :, :]
        self.states = states.unbind(-3)  # x_0 to x_k
        self.hidden = activations.unbind(-3)  # h_1 to h_k
        self.output_gradients = errors.unbind(-3)  # x_i - x at first, o_i in the end
        self.hidden_gradients = gradients.unbind(-3)  # a_1 to a_k
        self.judged_outputs, self.judged_errors = outputs[..., judged, :, :], errors[..., judged, :, :]
        self.flat_errors = self.judged_errors.view(*members, -1)
        self.stacked_inputs = inputs.view(*members, k * batch, dim)
        self.stacked_hidden = activations.view(*members, k * batch, hidden)
        self.stacked_output_gradients = errors.view(*members, k * batch, dim)
        self.stacked_hidden_gradients = gradients.view(*members, k * batch, hidden)
        self.ones = like.new_ones(k * batch)
        if objective.loss == "cross-entropy":
            self.logs = torch.empty_like(self.judged_errors), torch.empty_like(self.judged_errors)
            self.passed_down = apart(like, members, batch, dim)
        if objective.contraction > 0:
            self.contraction = apart(like, members, 2, batch, hidden).unbind(-3)


def apart(like: Tensor, members: Sequence[int], *shape: int) -> Tensor:
    """An empty tensor of shape (*members, *shape), in which every member lies as it would lie alone.

    Each begins at a multiple of 64 bytes, and there is a gap before the next: on a CPU the bits of a product depend on
    where its factors lie, and those of a nonlinearity on where a run of numbers ends.
    """
    size = math.prod(shape)
    room = (size // _LINE + 1) * _LINE
    return like.new_empty(*members, room)[..., :size].unflatten(-1, shape)


def _multiply_by_slope(nonlinearity: str, gradients: Tensor, values: Tensor) -> None:
    """Multiply gradients, in place, by the derivative of a nonlinearity where it had these values."""
    match nonlinearity:
        case "sigmoid":
            _sigmoid_backward(gradients, values, grad_input=gradients)
        case "tanh":
            _tanh_backward(gradients, values, grad_input=gradients)
        case "relu":
            _threshold_backward(gradients, values, 0, grad_input=gradients)
        case _:
            gradients.mul_(NONLINEARITIES[nonlinearity].derivative_from_value(values))
