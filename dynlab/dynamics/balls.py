"""Two arithmetics for one set of bounds: plain float64, and balls that enclose the true numbers.

Bounds are written once, on numpy arrays. In `PLAIN` the arrays hold float64, and what comes out is as good as rounding
lets it be. In `balls()` they are object arrays of python-flint's `arb`, a midpoint with a radius: every operation
encloses all results that its operands allow, rounding included, so an inequality that holds between balls holds between
the true numbers. Elementwise arithmetic, sums, `numpy.sqrt`, `exp` and `tanh` then work on both alike; what does not is
here.

A spectral norm is proved by a factorization that need not be exact. With `C C^T` close to `mu I - X^T X` for any matrix
`C`, `E = mu I - X^T X - C C^T` is small, and since `C C^T` is positive semidefinite, `||X||_2^2 <= mu + ||E||_2`.

Source: Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, IEEE Transactions on
Computers 66, 2017; Rump, Verification of positive definiteness, BIT 46, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynlab.errors import InputError

BITS = 64  # of a midpoint: products take as long as with 53, and rounding stays far below the float64 data's
# A Gram matrix has eigenvalues this close to its largest one with float64 rounding, which `mu` must stay above.
_MARGIN = 1e-12

# A float or an `arb`: both add, multiply, compare, and convert by `float`.
Number = Any


@dataclass(frozen=True)
class Arithmetic:
    """What arrays of numbers of one kind need beyond numpy's own operations."""

    is_proof: bool
    context: Callable[[], AbstractContextManager[Any]]  # to be entered around all computation
    exact: Callable[[np.ndarray], np.ndarray]  # float64 numbers, as they are
    product: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of two matrices
    magnitude: Callable[[Any], Any]  # upper bounds of absolute values
    smaller: Callable[[Any, Any], Any]  # elementwise minimum
    larger: Callable[[Any, Any], Any]  # elementwise maximum
    spectral_norm: Callable[[np.ndarray], Number]  # an upper bound

    def row_norms(self, matrix: np.ndarray) -> np.ndarray:
        """Upper bounds of the Euclidean length of each row."""
        return np.sqrt((self.magnitude(matrix) ** 2).sum(axis=1))

    def frobenius_norm(self, matrix: np.ndarray) -> Number:
        """Upper bound of the root of the sum of squares, itself an upper bound of the spectral norm."""
        return np.sqrt((self.magnitude(matrix) ** 2).sum())

    def below(self, number: Number) -> float:
        """A float64 that is at most the number."""
        return float(np.nextafter(float(number.lower()), -np.inf)) if self.is_proof else float(number)

    def above(self, number: Number) -> float:
        """A float64 that is at least the number."""
        return float(np.nextafter(float(number.upper()), np.inf)) if self.is_proof else float(number)

    def apply(self, matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Matrix times vector."""
        return self.product(matrix, vector[:, None])[:, 0]


def _plain_norm(matrix: np.ndarray) -> float:
    gram = matrix.T @ matrix if matrix.shape[1] <= matrix.shape[0] else matrix @ matrix.T
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


PLAIN = Arithmetic(
    is_proof=False,
    context=nullcontext,
    exact=lambda values: values,
    product=np.matmul,
    magnitude=np.abs,
    smaller=np.minimum,
    larger=np.maximum,
    spectral_norm=_plain_norm,
)


def balls() -> Arithmetic:
    """Ball arithmetic at 64 bits.

    Raises:
        InputError: If python-flint is not installed.
    """
    try:
        from flint import arb, arb_mat, ctx
    except ImportError as error:
        raise InputError(
            "method is 'proof', which needs python-flint, and it is not installed: pip install 'dynlab[certificates]'"
        ) from error

    def exact(values: np.ndarray) -> np.ndarray:
        return _as_objects([arb(value) for value in values.ravel().tolist()], values.shape)

    def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        (rows, inner), columns = left.shape, right.shape[1]
        result = arb_mat(rows, inner, left.ravel().tolist()) * arb_mat(inner, columns, right.ravel().tolist())
        return _as_objects(result.entries(), (rows, columns))

    magnitude = np.frompyfunc(lambda value: value.abs_upper(), 1, 1)

    def spectral_norm(matrix: np.ndarray) -> Number:
        gram = product(matrix.T, matrix) if matrix.shape[1] <= matrix.shape[0] else product(matrix, matrix.T)
        values, vectors = np.linalg.eigh(gram.astype(float))
        mu = float(values[-1]) * (1 + _MARGIN)
        root = exact(vectors * np.sqrt(np.maximum(mu - values, 0.0)))
        rest = -gram - product(root, root.T)
        rest[np.diag_indices(len(rest))] += arb(mu)
        return np.sqrt(arb(mu) + np.sqrt((magnitude(rest) ** 2).sum())).upper()

    return Arithmetic(
        is_proof=True,
        context=lambda: ctx.workprec(BITS),
        exact=exact,
        product=product,
        magnitude=magnitude,
        smaller=np.frompyfunc(lambda a, b: arb(a).min(b), 2, 1),
        larger=np.frompyfunc(lambda a, b: arb(a).max(b), 2, 1),
        spectral_norm=spectral_norm,
    )


def _as_objects(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)
