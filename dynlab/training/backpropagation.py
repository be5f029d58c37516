"""One step of gradient descent on the walkback objective, its gradients written out by hand.

With `x_0` the corrupted input, `h_i = f(W1 x_{i-1} + b1)` and `x_i = g(W2 h_i + b2)`, backpropagation through all k
steps goes down from i = k. Up to the factor `2 / (batch k)` of the objective, and summed over the minibatch, it is

    o_i = g'(x_i) * (x_i - x + W1^T a_{i+1}),    a_{k+1} = 0
    a_i = f'(h_i) * (W2^T o_i)
    dW2 = sum_i o_i h_i^T,   db2 = sum_i o_i,   dW1 = sum_i a_i x_{i-1}^T,   db1 = sum_i a_i

With minibatches of 20 the weights are larger than everything else together, so what counts beside the operations is
how often they pass through the processor. Their gradients are never stored: the k steps are stacked into one product,
which is added straight to the weight. All else is computed in buffers that stay.

A step takes `(6 k - 1) 2 batch dim hidden` operations: per step of the walkback two products forward, two backward
(one less at the first, whose input needs no gradient) and two for the weights.

Source: Werbos, Backpropagation Through Time: What It Does and How to Do It, 1990.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder

# Called through the overload itself: looking it up at each call takes longer than what it computes.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class GradientDescent:
    """Stochastic gradient descent on the walkback objective of one denoising autoencoder, whose parameters it changes.

    Args:
        autoencoder: To be trained; its parameters must stay where they are, of one dtype and on one device.
        walkback: The number of steps k, at least 1.

    Raises:
        ValueError: If `walkback` is below 1.
    """

    def __init__(self, autoencoder: DenoisingAutoencoder, walkback: int) -> None:
        if walkback < 1:
            raise ValueError(f"walkback is {walkback}, expected at least 1")
        self._walkback = walkback
        self._f, self._g = autoencoder.hidden_nonlinearity, autoencoder.output_nonlinearity
        self._w1, self._b1 = autoencoder.encoder["weight"].detach(), autoencoder.encoder["bias"].detach()
        self._w2, self._b2 = autoencoder.decoder_weight.detach(), autoencoder.decoder["bias"].detach()
        self._w1_transposed, self._w2_transposed = self._w1.t(), self._w2.t()
        self._buffers: dict[int, _Buffers] = {}

    def inputs(self, batch: int) -> Float[Tensor, "batch dim"]:
        """Where the corrupted minibatches of this size are copied to by `step`, if they are not there already."""
        if batch not in self._buffers:
            self._buffers[batch] = _Buffers(batch, self._walkback, self._w1)
        return self._buffers[batch].states[0]

    def step(
        self, clean: Float[Tensor, "batch dim"], corrupted: Float[Tensor, "batch dim"], learning_rate: float
    ) -> Float[Tensor, ""]:
        """Go one step down the gradient of the walkback objective of a minibatch.

        Args:
            clean: What to come back to, shape (batch, dim), of the dtype and on the device of the parameters.
            corrupted: Where to start, likewise.
            learning_rate: What the gradient is multiplied with.

        Returns:
            The walkback objective before the step times `batch * walkback`: the squared errors, summed up.
        """
        batch, k = len(clean), self._walkback
        self.inputs(batch).copy_(corrupted)
        buffers, w1, w2 = self._buffers[batch], self._w1, self._w2
        x, h, o, a = buffers.states, buffers.hidden, buffers.output_gradients, buffers.hidden_gradients

        for i in range(k):
            NONLINEARITIES[self._f].in_place(torch.addmm(self._b1, x[i], self._w1_transposed, out=h[i]))
            NONLINEARITIES[self._g].in_place(torch.addmm(self._b2, h[i], self._w2_transposed, out=x[i + 1]))

        torch.sub(buffers.all_outputs, clean, out=buffers.all_errors)
        squared_error = torch.dot(buffers.flat_errors, buffers.flat_errors)
        for i in reversed(range(k)):
            if i + 1 < k:
                o[i].addmm_(a[i + 1], w1)
            _multiply_by_slope(self._g, o[i], x[i + 1])
            _multiply_by_slope(self._f, torch.mm(o[i], w2, out=a[i]), h[i])

        # Tied weights are one tensor, which gets both products: it may change only now, when all is computed from it.
        scale = -2 * learning_rate / (batch * k)
        w2.addmm_(buffers.stacked_output_gradients, buffers.stacked_hidden, alpha=scale)
        w1.addmm_(buffers.stacked_hidden_gradients, buffers.stacked_inputs, alpha=scale)
        self._b2.addmv_(buffers.stacked_output_gradients, buffers.ones, alpha=scale)
        self._b1.addmv_(buffers.stacked_hidden_gradients, buffers.ones, alpha=scale)
        return squared_error


class _Buffers:
    """What one step computes for a minibatch of `batch`: by steps of the walkback and, the same memory, all of them."""

    def __init__(self, batch: int, steps: int, like: Float[Tensor, "hidden dim"]) -> None:
        hidden, dim = like.shape
        states, activations = like.new_empty(steps + 1, batch, dim), like.new_empty(steps, batch, hidden)
        errors, gradients = like.new_empty(steps, batch, dim), torch.empty_like(activations)
        self.states = states.unbind()  # x_0 to x_k
        self.hidden = activations.unbind()  # h_1 to h_k
        self.output_gradients = errors.unbind()  # x_i - x at first, o_i in the end
        self.hidden_gradients = gradients.unbind()  # a_1 to a_k
        self.all_outputs, self.all_errors, self.flat_errors = states[1:], errors, errors.view(-1)
        self.stacked_inputs = states[:-1].flatten(0, 1)
        self.stacked_hidden = activations.flatten(0, 1)
        self.stacked_output_gradients = errors.flatten(0, 1).t()
        self.stacked_hidden_gradients = gradients.flatten(0, 1).t()
        self.ones = like.new_ones(steps * batch)


def _multiply_by_slope(nonlinearity: str, gradients: Tensor, values: Tensor) -> None:
    """Multiply gradients, in place, by the derivative of a nonlinearity where it had these values."""
    if nonlinearity == "sigmoid":
        _sigmoid_backward(gradients, values, grad_input=gradients)
    else:
        gradients.mul_(NONLINEARITIES[nonlinearity].derivative_from_value(values))
