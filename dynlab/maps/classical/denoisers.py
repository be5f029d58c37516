"""The best possible denoisers: of a finite data set, and of Gaussian data."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Buffer

from dynlab.maps.classical.linear import Linear
from dynlab.maps.classical.numbers import positive
from dynlab.maps.map import Map


class OptimalDenoiser(Map):
    """The best denoiser of a finite set, `r(x) = sum_i w_i x_i` with `w_i ~ exp(-|x - x_i|^2 / (2 sigma^2))`.

    The weights add up to 1: `r(x)` is the mean of the clean sample, given the corrupted one. Exactly
    `r(x) - x = sigma^2 grad log p_sigma(x)`, where `p_sigma` is the density of the samples after corruption. So fixed
    points are the critical points of `p_sigma`, its maxima attract, and iterating is the mean-shift algorithm, along
    which `p_sigma` never falls. The Jacobian is the covariance of the samples under the weights, over `sigma^2`:
    symmetric and positive semidefinite, so multipliers are real and at least 0. Images lie in the convex hull of the
    samples. If these lie less than `2 sigma` apart, the map contracts to one fixed point; as sigma goes to 0 every
    sample becomes one. For two samples at -a and a fixed points are `m a` with `m = tanh(m |a|^2 / sigma^2)`.

    Args:
        points: The samples `x_i`, shape (count, dim), finite.
        sigma: Standard deviation of the corruption, in units of the state, above 0.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Alain and Bengio, What regularized auto-encoders learn from the data-generating distribution, JMLR 15, 2014;
    Cheng, Mean shift, mode seeking, and clustering, IEEE Transactions on Pattern Analysis 17, 1995.
    """

    points: Tensor
    centre: Tensor

    def __init__(self, points: Float[Tensor, "count dim"], sigma: float) -> None:
        if points.ndim != 2 or not len(points) or not bool(torch.isfinite(points).all()):
            raise ValueError(f"points has shape {tuple(points.shape)}, expected (count, dim) and finite entries")
        super().__init__(points.shape[1])
        self.sigma = positive("sigma", sigma)
        # Where is arbitrary; in the middle of the samples the least is lost to rounding.
        self.centre = Buffer(points.detach().mean(0))
        self.points = Buffer(points.detach().clone())

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Denoise each row once."""
        centre, offsets = self._offsets(states.dtype)
        return centre + self._exponents(states).softmax(1) @ offsets

    def jacobian_factors(
        self, states: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "batch dim rank"], Float[Tensor, "#batch rank dim"]]:
        """`A = (x_i - r)_i diag(w) / sigma^2` and `B = (x_i - c)_i`, of as many columns as there are samples."""
        _, offsets = self._offsets(states.dtype)
        weights = self._exponents(states).softmax(1)
        deviations = offsets - (weights @ offsets)[:, None]
        return (weights[:, :, None] * deviations).mT / self.sigma**2, offsets[None]

    def score(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """`grad log p_sigma`, the score of the smoothed density: `sum_i w_i (x_i - x) / sigma^2`."""
        return (self(states) - states) / self.sigma**2

    def log_density(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        """`log p_sigma` of the mixture of Gaussians around the samples, natural logarithm, normalized."""
        squares = (states - self.centre.to(states.dtype)).square().sum(1) / (2 * self.sigma**2)
        normalizer = math.log(len(self.points)) + self.dim * math.log(self.sigma * math.sqrt(2 * math.pi))
        return self._exponents(states).logsumexp(1) - squares - normalizer

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its samples."""
        return f"dim={self.dim}, sigma={self.sigma!r}"

    def _offsets(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        centre = self.centre.to(dtype)
        return centre, self.points.to(dtype) - centre

    def _exponents(self, states: Tensor) -> Tensor:
        """`-|x - x_i|^2 / (2 sigma^2)` up to a term that is the same for all samples."""
        centre, offsets = self._offsets(states.dtype)
        return ((states - centre) @ offsets.T - offsets.square().sum(1) / 2) / self.sigma**2


class GaussianDenoiser(Linear):
    """The best denoiser of `N(mean, C)`: `r(x) = mean + C (C + sigma^2 I)^-1 (x - mean)`.

    `mean` is the one fixed point; for variances `c` along the axes of C the multipliers are `c / (c + sigma^2)`, real,
    from 0 to 1. Exactly `r(x) - x = sigma^2 grad log p_sigma(x)` with `p_sigma = N(mean, C + sigma^2 I)`.

    Args:
        mean: Shape (dim,).
        covariance: `C`, shape (dim, dim), symmetric and positive semidefinite.
        sigma: Standard deviation of the corruption, in units of the state, above 0.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Bishop, Pattern Recognition and Machine Learning, section 2.3.3; Efron, Tweedie's formula and selection
    bias, Journal of the American Statistical Association 106, 2011.
    """

    def __init__(self, mean: Float[Tensor, " dim"], covariance: Float[Tensor, "rows columns"], sigma: float) -> None:
        sigma, dim = positive("sigma", sigma), len(mean)
        if covariance.shape != (dim, dim):
            raise ValueError(
                f"covariance has shape {tuple(covariance.shape)}, expected ({dim}, {dim}) as mean has {dim}"
            )
        mean, covariance = mean.double(), covariance.double()
        variances, axes = torch.linalg.eigh(covariance)
        scale = float(variances.abs().max())
        if not float((covariance - covariance.T).abs().max()) <= 1e-6 * scale or float(variances.min()) < -1e-6 * scale:
            raise ValueError("covariance is another matrix, expected a symmetric and positive semidefinite one")
        variances = variances.clamp(min=0)
        matrix = axes * (variances / (variances + sigma**2)) @ axes.T
        super().__init__(matrix, mean - matrix @ mean)
        self.sigma = sigma

    def score(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """`grad log p_sigma`, `-(C + sigma^2 I)^-1 (x - mean)`."""
        return (self(states) - states) / self.sigma**2

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its parameters."""
        return f"dim={self.dim}, sigma={self.sigma!r}"
