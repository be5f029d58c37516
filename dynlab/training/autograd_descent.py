"""One step of gradient descent on an objective of any map, by autograd.

The same step as `dynlab.training.backpropagation` takes for an autoencoder with one hidden layer, and slower: every
gradient is stored before it is added to its parameter, and nothing is stacked.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import Map
from dynlab.training.objective import Objective, check_objective, objective_value


class AutogradDescent:
    """Stochastic gradient descent on an objective of a map, whose parameters it changes.

    Args:
        system: To be trained: those of its parameters that require a gradient.
        objective: What to go down.

    Raises:
        InputError: If `system` has no parameters to train, or the objective cannot be had of it: a contractive penalty
            without an encoder, a cross-entropy of outputs that are known to leave [0, 1].
    """

    def __init__(self, system: Map, objective: Objective) -> None:
        check_objective(system, objective)
        self._system, self._objective = system, objective
        self._parameters = [parameter for parameter in system.parameters() if parameter.requires_grad]
        if not self._parameters:
            raise InputError(
                f"system is a {type(system).__name__} of which no parameter requires a gradient, expected at least one"
            )

    def step(
        self, clean: Float[Tensor, "batch dim"], corrupted: Float[Tensor, "batch dim"], learning_rate: float
    ) -> Float[Tensor, ""]:
        """Go one step down the gradient of the objective of a minibatch.

        Args:
            clean: What to come back to, shape (batch, dim), of the dtype and on the device of the parameters; within
                [0, 1] for the cross-entropy.
            corrupted: Where to start, likewise.
            learning_rate: What the gradient is multiplied with.

        Returns:
            The objective before the step, summed over the samples of the minibatch.

        Raises:
            InputError: For the cross-entropy, if clean images or outputs leave [0, 1].
        """
        # Whoever steps without gradients is in inference mode, where there are none, and autograd keeps no tensor that
        # was made there.
        with torch.inference_mode(False), torch.enable_grad():
            value = objective_value(self._system, _normal(clean), _normal(corrupted), self._objective)
            gradients = torch.autograd.grad(value, self._parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.add_(gradient, alpha=-learning_rate)
        return value.detach() * len(clean)


def _normal(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor
