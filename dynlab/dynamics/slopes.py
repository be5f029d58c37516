"""How far the slopes of a map stray from its Jacobian at one state.

Between any two states `F(a) - F(b) = S (a - b)` with a matrix of slopes `S`. For layers `x -> f(W x + b)` it is the
Jacobian with each derivative `f'` replaced by the slope of a secant of `f`, which `dynlab.dynamics.curves` bounds. From
that follows `sup ||base + left (S - J) right||_2` for the states in a ball, which is all a certificate needs: bounds
of Newton and Kantorovich and contraction in a Lyapunov norm differ only in the matrices they put left and right.

The bound for radius `r` about the state `x0` holds for the slopes between `x0` and a state that near, and also between
any two states whose distances from `x0` add up to at most `r`.

In each layer the slopes change by a diagonal matrix `D` with `|D_jj| <= delta_j`, which stands between two known
matrices, so `||L D R z|| <= ||L s|| ||(delta / s) R z||` for any positive `s`, which evens out columns and rows.
Several such terms and the Jacobian itself act on the same vector, and `(sum t_i)^2 <= sum t_i^2 / a_i`
for shares `a` that add up to one makes a single spectral norm of them, which knows that the direction in which the
Jacobian hardly contracts is seldom the one in which the slopes stray most. `s` and `a` are free: any will do, good ones
make the bound sharp.

Source: Krawczyk and Neumaier, Interval slopes for rational functions and associated centered forms, SIAM Journal on
Numerical Analysis 22, 1985; Fazlyab et al., Efficient and accurate estimation of Lipschitz constants for deep neural
networks, 2019 (diagonal multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.balls import Arithmetic, Number
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.curves import CURVES
from dynlab.maps import Map
from dynlab.maps.layers import Layer

# Where a bound by the Frobenius norm is this small already, the spectral norm is not worth its time.
_SMALL = 1e-6
_INFINITESIMAL = 1e-9  # radius at which a bound is as good as linear in the radius


@runtime_checkable
class Spread(Protocol):
    """`sup ||base + left (S - J) right||_2` over the slopes between states of a ball, as a function of its radius.

    The ball holds the states `x` with `||right^-1 (x - state)||_2 <= radius`; without a `right`, it is Euclidean.
    """

    @property
    def scales(self) -> Sequence[np.ndarray]:
        """`s` of each layer that is not linear."""
        ...

    @property
    def is_linear(self) -> bool:
        """Whether slopes stray nowhere."""
        ...

    def bound(self, radius: float, shares: np.ndarray) -> Number:
        """An upper bound, with the given shares."""
        ...

    def rebalance(self, radius: float, shares: np.ndarray) -> np.ndarray:
        """Shares that are better than the given ones."""
        ...

    def rough_bound(self, radius: float) -> Number:
        """The spectral norm of `base`, and Frobenius norms for all else: sharp where the radius is tiny."""
        ...

    def first_guess(self) -> tuple[float, np.ndarray]:
        """A radius at which the bound is about one, and shares for it."""
        ...


@runtime_checkable
class Slopes(Protocol):
    """A map near one state."""

    arithmetic: Arithmetic
    defect: np.ndarray  # F(state) - state
    jacobian: np.ndarray

    def spread(
        self,
        base: np.ndarray,
        left: np.ndarray,
        right: np.ndarray | None = None,
        *,
        inflation: Number = 1.0,
        scales: Sequence[np.ndarray] | None = None,
    ) -> Spread:
        """How far the slopes stray between `left` and `right`.

        `base` and `right` are those of the class `Spread` up to a factor, on the right, of norm at most `inflation`.
        """
        ...


class LayeredSlopes:
    """A map made of layers, near one state, in either arithmetic."""

    def __init__(self, layers: Sequence[Layer], state: Float64[Tensor, " dim"], arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self.layers = layers
        self.weights = [arithmetic.exact(layer.weight.double().cpu().numpy()) for layer in layers]
        self.inputs: list[np.ndarray] = []  # of each nonlinearity
        self.derivatives: list[np.ndarray] = []
        self.rights = []  # derivative of each nonlinearity's input with respect to the state
        centre = value = arithmetic.exact(state.cpu().numpy())
        for layer, weight in zip(layers, self.weights, strict=True):
            self.rights.append(
                arithmetic.product(weight, self.derivatives[-1][:, None] * self.rights[-1]) if self.rights else weight
            )
            self.inputs.append(arithmetic.apply(weight, value) + arithmetic.exact(layer.bias.double().cpu().numpy()))
            curve = CURVES[layer.nonlinearity]
            value = curve.function(self.inputs[-1])
            self.derivatives.append(curve.derivative(self.inputs[-1]))
        self.defect = value - centre
        self.jacobian = self.derivatives[-1][:, None] * self.rights[-1]
        self.curved = [index for index, layer in enumerate(layers) if layer.nonlinearity != "identity"]

    def spread(
        self,
        base: np.ndarray,
        left: np.ndarray,
        right: np.ndarray | None = None,
        *,
        inflation: Number = 1.0,
        scales: Sequence[np.ndarray] | None = None,
    ) -> LayeredSpread:
        return LayeredSpread(self, base, left, right, inflation, scales)

    def stray(self, index: int, distances: np.ndarray) -> np.ndarray:
        """Bounds on how far a layer's secants, within given distances of its inputs, stray from its derivatives."""
        curve = CURVES[self.layers[index].nonlinearity]
        return self.arithmetic.magnitude(curve.stray(self.arithmetic, self.inputs[index], distances))

    def chain(self, last: int, first: int) -> np.ndarray:
        """Derivative of the input of nonlinearity `last` with respect to the output of nonlinearity `first`."""
        matrix = self.weights[first + 1]
        for index in range(first + 1, last):
            matrix = self.arithmetic.product(self.weights[index + 1], self.derivatives[index][:, None] * matrix)
        return matrix


class LayeredSpread:
    """`Spread` of a map made of layers."""

    def __init__(
        self,
        slopes: LayeredSlopes,
        base: np.ndarray,
        left: np.ndarray,
        right: np.ndarray | None,
        inflation: Number,
        scales: Sequence[np.ndarray] | None,
    ) -> None:
        arithmetic = slopes.arithmetic
        self.slopes, self.base, self.inflation = slopes, base, inflation
        self.is_linear = not slopes.curved
        self._rights = [
            slopes.rights[k] if right is None else arithmetic.product(slopes.rights[k], right) for k in slopes.curved
        ]
        self._reaches = [arithmetic.row_norms(matrix) * inflation for matrix in self._rights]
        lefts = [left]
        for index in range(len(slopes.layers) - 1, 0, -1):
            lefts.append(arithmetic.product(lefts[-1], slopes.derivatives[index][:, None] * slopes.weights[index]))
        lefts = [lefts[len(slopes.layers) - 1 - k] for k in slopes.curved]
        self.scales = scales or [
            _even_out(arithmetic.row_norms(matrix.T), slopes.stray(k, _INFINITESIMAL * reach), reach)
            for k, matrix, reach in zip(slopes.curved, lefts, self._reaches, strict=True)
        ]
        self._left_norms = [
            arithmetic.spectral_norm(matrix * scale) for matrix, scale in zip(lefts, self.scales, strict=True)
        ]
        self._chains = {
            (k, j): slopes.chain(slopes.curved[k], slopes.curved[j])
            for k in range(len(slopes.curved))
            for j in range(k)
        }

    def bound(self, radius: float, shares: np.ndarray) -> Number:
        stack = self._stack(self._terms(radius), shares)
        quick = self.slopes.arithmetic.frobenius_norm(stack) * self.inflation
        return quick if quick < _SMALL else self.slopes.arithmetic.spectral_norm(stack) * self.inflation

    def rebalance(self, radius: float, shares: np.ndarray) -> np.ndarray:
        # Equality in Cauchy and Schwarz's inequality, in the direction that matters most.
        terms = self._terms(radius)
        stack = self._stack(terms, shares)
        worst = np.linalg.eigh(stack.T @ stack)[1][:, -1]
        return _shares([float(np.linalg.norm(term @ worst)) for term in terms])

    def rough_bound(self, radius: float) -> Number:
        arithmetic = self.slopes.arithmetic
        base, *terms = self._terms(radius)
        return (arithmetic.spectral_norm(base) + sum(map(arithmetic.frobenius_norm, terms))) * self.inflation

    def first_guess(self) -> tuple[float, np.ndarray]:
        base, *terms = (self.slopes.arithmetic.spectral_norm(term) for term in self._terms(_INFINITESIMAL))
        if not (base < 1 and sum(terms) > 0):
            return _INFINITESIMAL, _shares([base, *terms])
        radius = _INFINITESIMAL * (1 - base) / sum(terms)
        return radius, _shares([base, *(term * radius / _INFINITESIMAL for term in terms)])

    def _terms(self, radius: float) -> list[np.ndarray]:
        """Matrices `X` with `|(base + left (S - J) right) z| <= |X_0 z| + |X_1 z| + ...`."""
        arithmetic = self.slopes.arithmetic
        count = len(self.scales)
        moves: list[np.ndarray] = []  # how far each output can be from its linearization, per radius
        factors: list[np.ndarray] = []  # delta / s
        for k, layer in enumerate(self.slopes.curved):
            # Secants before this layer lengthen its own way: it takes the sum of what each can do at worst.
            reach = self._reaches[k] + sum(
                (arithmetic.magnitude(self._chains[k, j]) * moves[j]).sum(axis=1) for j in range(k)
            )
            stray = self.slopes.stray(layer, reach * radius)
            moves.append(stray * reach)
            factors.append(stray / self.scales[k])
        weights = list(self._left_norms)
        for k in range(count - 1, -1, -1):
            for j in range(k):
                coupling = self._chains[k, j] * factors[k][:, None] * self.scales[j]
                weights[j] = weights[j] + weights[k] * arithmetic.frobenius_norm(coupling)
        return [self.base] + [(weights[k] * factors[k])[:, None] * matrix for k, matrix in enumerate(self._rights)]

    def _stack(self, terms: list[np.ndarray], shares: np.ndarray) -> np.ndarray:
        exact = self.slopes.arithmetic.exact(shares)
        return np.vstack([term / np.sqrt(share) for term, share in zip(terms, exact, strict=True)])


class LipschitzSlopes:
    """A map that knows a Lipschitz constant of its Jacobian and nothing else, near one state, in plain float64."""

    def __init__(self, system: Map, state: Float64[Tensor, " dim"], arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        state = state.to(home_of(system, state).device)
        self.system, self.state = system, state
        with torch.no_grad():
            self.defect = (system(state[None])[0] - state).cpu().numpy()
        self.jacobian = system.jacobian(state[None])[0].detach().cpu().numpy()

    def spread(
        self,
        base: np.ndarray,
        left: np.ndarray,
        right: np.ndarray | None = None,
        *,
        inflation: Number = 1.0,
        scales: Sequence[np.ndarray] | None = None,
    ) -> LipschitzSpread:
        norms = [self.arithmetic.spectral_norm(part) for part in (base, left, np.eye(1) if right is None else right)]
        return LipschitzSpread(self, norms[0] * inflation, norms[1], norms[2] * inflation)


@dataclass(frozen=True)
class LipschitzSpread:
    """`Spread` by a Lipschitz constant of the Jacobian: `||base|| + ||left|| L ||right||^2 radius / 2`."""

    slopes: LipschitzSlopes
    base: float
    left: float
    right: float
    scales: Sequence[np.ndarray] = ()
    is_linear: bool = False

    def bound(self, radius: float, shares: np.ndarray) -> Number:
        reach = self.right * radius
        constant = self.slopes.system.jacobian_lipschitz(self.slopes.state, reach)
        return np.inf if constant is None else self.base + self.left * self.right * constant * reach / 2

    def rebalance(self, radius: float, shares: np.ndarray) -> np.ndarray:
        return shares

    def rough_bound(self, radius: float) -> Number:
        return self.bound(radius, np.ones(1))

    def first_guess(self) -> tuple[float, np.ndarray]:
        return 1.0, np.ones(1)


def _even_out(columns: np.ndarray, strays: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`s` that makes the columns of `L s` and the rows of `(delta / s) R` about equally long."""
    columns, strays, rows = (part.astype(float) for part in (columns, strays, rows))
    wanted = np.sqrt(strays * rows / np.maximum(columns, np.finfo(float).tiny))
    largest = wanted.max(initial=0.0)
    # A unit at an inflection strays little at first, yet must not be divided by nothing.
    return np.maximum(wanted, 1e-3 * largest) if largest > 0 else np.ones_like(wanted)


def _shares(terms: Sequence[float]) -> np.ndarray:
    shares = np.maximum(np.asarray(terms, dtype=float), 1e-12 * max(*terms, 1e-300))
    shares = shares / shares.sum()
    return shares * (1 - 1e-14)  # so that rounded, too, they add up to at most one
