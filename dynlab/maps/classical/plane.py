"""Maps of the line and of the plane.

Logistic, delayed logistic, Hénon, Ikeda, a double well, Newton's method for cube roots of one.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex128, Float, Float64, Int64
from torch import Tensor

from dynlab.maps.classical.numbers import column, number
from dynlab.maps.map import Map

_IKEDA_GRID = 100_000


class Logistic(Map):
    """`F(x) = r x (1 - x)`, period doubling to chaos.

    For r from 0 to 4 the interval [0, 1] is mapped into itself. Attracting are: 0 for `-1 < r < 1`, `1 - 1 / r` for
    1 < r < 3, a cycle of period 2 for 3 < r < 1 + sqrt(6), one of period 4 up to 3.5441, and one of period 3 from
    1 + sqrt(8) to 3.8415. At r = 4 almost every orbit fills [0, 1].

    Args:
        r: Growth rate, finite.

    Raises:
        ValueError: If `r` is not finite.

    Source: May, Simple mathematical models with very complicated dynamics, Nature 261, 1976.
    """

    def __init__(self, r: float) -> None:
        super().__init__(1)
        self.r = number("r", r)

    def jacobian_lipschitz(self, state: Float[Tensor, " dim"], radius: float) -> float:
        """`F'' = -2 r` everywhere."""
        return 2 * abs(self.r)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        return self.r * states * (1 - states)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """All of them: 0 and, unless r = 0, `1 - 1 / r`."""
        return column([0.0, 1 - 1 / self.r] if self.r else [0.0])

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """`r` at 0 and `2 - r` at the other."""
        return column([self.r, 2 - self.r] if self.r else [0.0]).to(torch.complex128)

    def two_cycle(self) -> Float64[Tensor, "period dim"]:
        """The cycle of period 2; its multiplier is `4 + 2 r - r^2`.

        Raises:
            ValueError: If r is from -1 to 3, where there is none.
        """
        if -1 <= self.r <= 3:
            raise ValueError(f"r is {self.r}, expected below -1 or above 3: there is no cycle of period 2")
        root = math.sqrt((self.r - 3) * (self.r + 1))
        return column([(self.r + 1 - root) / (2 * self.r), (self.r + 1 + root) / (2 * self.r)])

    def lyapunov_exponents(self) -> Float64[Tensor, " dim"]:
        """The exponent of almost every orbit from (0, 1), where it is known in closed form; -inf where superstable.

        Raises:
            ValueError: If r is not 4 and not from 0 to 1 + sqrt(6).
        """
        if self.r == 4:
            return torch.tensor([math.log(2)], dtype=torch.float64)
        if not 0 <= self.r <= 1 + math.sqrt(6):
            raise ValueError(f"r is {self.r}, expected 4, or from 0 to 1 + sqrt(6): no closed form is known elsewhere")
        if self.r <= 3:
            growth = self.r if self.r <= 1 else abs(2 - self.r)
        else:
            growth = math.sqrt(abs(4 + 2 * self.r - self.r * self.r))
        return torch.tensor([growth], dtype=torch.float64).log()

    def extra_repr(self) -> str:
        """Settings that determine the map."""
        return f"r={self.r!r}"


class DelayedLogistic(Map):
    """`F(x, y) = (r x (1 - y), x)`, growth held down by the generation before.

    The fixed point `x = y = 1 - 1 / r` attracts for 1 < r < 2. At r = 2 a pair of multipliers crosses the unit circle,
    at the angles `pi / 3` and `-pi / 3`, a Neimark-Sacker bifurcation; just above, an invariant closed curve attracts.

    Args:
        r: Growth rate, finite.

    Raises:
        ValueError: If `r` is not finite.

    Source: Maynard Smith, Mathematical Ideas in Biology, 1968; Kuznetsov, Elements of Applied Bifurcation Theory,
    section 4.6.
    """

    def __init__(self, r: float) -> None:
        super().__init__(2)
        self.r = number("r", r)

    def jacobian_lipschitz(self, state: Float[Tensor, " dim"], radius: float) -> float:
        """The row of the Jacobian that varies is `r (1 - y, -x)`."""
        return abs(self.r)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        x, y = states.unbind(1)
        return torch.stack([self.r * x * (1 - y), x], dim=1)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """All of them: 0 and, unless r = 0, `x = y = 1 - 1 / r`."""
        return column([0.0, 1 - 1 / self.r] if self.r else [0.0]).expand(-1, 2).clone()

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """`r` and 0 at 0, and the roots of `z^2 - z + r - 1 = 0` at the other."""
        at_zero = torch.tensor([[self.r, 0.0]], dtype=torch.complex128)
        if not self.r:
            return at_zero
        other = _roots(*torch.tensor([[1.0], [self.r - 1]], dtype=torch.float64))
        return torch.cat([at_zero, other])

    def extra_repr(self) -> str:
        """Settings that determine the map."""
        return f"r={self.r!r}"


class Henon(Map):
    """`F(x, y) = (1 - a x^2 + y, b x)`, the map with a strange attractor that contracts areas by `|b|` everywhere.

    At a = 1.4, b = 0.3 the quadrilateral (-1.33, 0.42), (1.32, 0.133), (1.245, -0.14), (-1.06, -0.5) is mapped into
    itself. Published there: Lyapunov exponents 0.41922 and -1.62319 (Sprott 2003); their sum is `ln|b|`.

    Args:
        a: Finite and not 0.
        b: Finite; 0 leaves a one-dimensional map.

    Raises:
        ValueError: If a parameter is out of its range.

    Source: Hénon, A two-dimensional mapping with a strange attractor, Communications in Mathematical Physics 50, 1976;
    Sprott, Chaos and Time-Series Analysis, 2003.
    """

    def __init__(self, a: float = 1.4, b: float = 0.3) -> None:
        super().__init__(2)
        self.a, self.b = number("a", a), number("b", b)
        if self.a == 0:
            raise ValueError(f"a is {a}, expected another number: the map would be linear")

    def jacobian_lipschitz(self, state: Float[Tensor, " dim"], radius: float) -> float:
        """The one entry of the Jacobian that varies is `-2 a x`."""
        return 2 * abs(self.a)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        x, y = states.unbind(1)
        return torch.stack([1 - self.a * x * x + y, self.b * x], dim=1)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """Both, that with the larger x first; none where `(1 - b)^2 + 4 a < 0`."""
        square = (1 - self.b) ** 2 + 4 * self.a
        if square < 0:
            return torch.zeros(0, 2, dtype=torch.float64)
        x = column(sorted([(self.b - 1 + sign * math.sqrt(square)) / (2 * self.a) for sign in (1, -1)], reverse=True))
        return torch.cat([x, self.b * x], dim=1)

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """The roots of `z^2 + 2 a x z - b = 0`."""
        trace = -2 * self.a * self.fixed_points()[:, 0]
        return _roots(trace, torch.full_like(trace, -self.b))

    def two_cycle(self) -> Float64[Tensor, "period dim"]:
        """The cycle of period 2; for its x1 and x2 the multipliers solve `z^2 - (4 a^2 x1 x2 + 2 b) z + b^2 = 0`.

        Raises:
            ValueError: If `4 a` is not above `3 (1 - b)^2`, where there is none.
        """
        square = 4 * self.a - 3 * (1 - self.b) ** 2
        if square <= 0:
            raise ValueError(
                f"a is {self.a}, expected above {0.75 * (1 - self.b) ** 2:.6g}: there is no cycle of period 2"
            )
        x = column([(1 - self.b + sign * math.sqrt(square)) / (2 * self.a) for sign in (1, -1)])
        return torch.cat([x, self.b * x.flip(0)], dim=1)

    def lyapunov_sum(self) -> float:
        """The sum of the Lyapunov exponents of every orbit, `ln|b|`."""
        return math.log(abs(self.b)) if self.b else -math.inf

    def extra_repr(self) -> str:
        """Settings that determine the map."""
        return f"a={self.a!r}, b={self.b!r}"


class Ikeda(Map):
    """`F(z) = 1 + u z exp(i theta)` with `theta = phase - coupling / (1 + |z|^2)`, for `z = x + i y`.

    It contracts areas by `u^2` everywhere, and the disc of radius `1 / (1 - u)` is mapped into itself. Published at
    u = 0.9, phase 0.4, coupling 6: Lyapunov exponents 0.5076 and -0.7183 (Sprott 2003) on the strange attractor. A
    stable fixed point near (2.97, 4.15) is there beside it.

    Args:
        u: Dissipation, between 0 and 1.
        phase: In radians, finite.
        coupling: In radians, finite.

    Raises:
        ValueError: If a parameter is out of its range.

    Source: Hammel, Jones and Moloney, Global dynamical behavior of the optical field in a ring cavity, Journal of the
    Optical Society of America B 2, 1985; Sprott, Chaos and Time-Series Analysis, 2003.
    """

    def __init__(self, u: float = 0.9, phase: float = 0.4, coupling: float = 6.0) -> None:
        super().__init__(2)
        self.u, self.phase, self.coupling = number("u", u), number("phase", phase), number("coupling", coupling)
        if not 0 < self.u < 1:
            raise ValueError(f"u is {u}, expected between 0 and 1")

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        x, y = states.unbind(1)
        angle = self.phase - self.coupling / (1 + x * x + y * y)
        cosine, sine = angle.cos(), angle.sin()
        return torch.stack([1 + self.u * (x * cosine - y * sine), self.u * (x * sine + y * cosine)], dim=1)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """The fixed points, by growing distance from 0.

        A fixed point is `1 / (1 - u exp(i theta))` for a theta that its own `|z|^2` gives back: one equation in one
        unknown, bisected wherever it changes sign on a grid of 100000 angles. Two that are about to merge, closer than
        the grid, would be missed.
        """
        ends = [1 / (1 + 1 / (1 + sign * self.u) ** 2) for sign in (-1, 1)]  # of 1 / (1 + |z|^2)
        grid = torch.linspace(ends[0] * (1 - 1e-9), ends[1] * (1 + 1e-9), _IKEDA_GRID, dtype=torch.float64)
        change = (self._excess(grid[:-1]) > 0) != (self._excess(grid[1:]) > 0)
        low, high = grid[:-1][change], grid[1:][change]
        rising = self._excess(high) > 0
        for _ in range(60):  # halves the grid's spacing down to rounding
            middle = (low + high) / 2
            right = (self._excess(middle) > 0) != rising
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        fixed = self._from_share((low + high) / 2).flip(0)
        return torch.stack([fixed.real, fixed.imag], dim=1)

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """The roots of `z^2 - t z + u^2 = 0` with `t = 2 u (cos theta - |z|^2 theta' sin theta)`, theta' by `|z|^2`."""
        square = self.fixed_points().square().sum(1)
        angle = self.phase - self.coupling / (1 + square)
        slope = self.coupling / (1 + square) ** 2
        trace = 2 * self.u * (angle.cos() - square * slope * angle.sin())
        return _roots(trace, torch.full_like(trace, self.u**2))

    def lyapunov_sum(self) -> float:
        """The sum of the Lyapunov exponents of every orbit, `2 ln u`."""
        return 2 * math.log(self.u)

    def extra_repr(self) -> str:
        """Settings that determine the map."""
        return f"u={self.u!r}, phase={self.phase!r}, coupling={self.coupling!r}"

    def _from_share(self, share: Tensor) -> Tensor:
        """The one state that would be fixed if `share` were its `1 / (1 + |z|^2)`."""
        angle = self.phase - self.coupling * share
        return 1 / (1 - torch.polar(torch.full_like(angle, self.u), angle))

    def _excess(self, share: Tensor) -> Tensor:
        return 1 / (1 + self._from_share(share).abs().square()) - share


class DoubleWell(Map):
    """Gradient descent on `(x^2 - 1)^2 / 4 + y^2 / 2`: `F(x, y) = (x - step x (x^2 - 1), (1 - step) y)`.

    Two wells, at x = -1 and x = 1, and between them a saddle at 0 whose stable manifold is the y axis.

    Args:
        step: Step size, above 0 and at most 0.5: up to there the basins within `reach` are the two half planes.

    Raises:
        ValueError: If `step` is out of its range.

    Source: the normal form of a pitchfork, Strogatz, Nonlinear Dynamics and Chaos, section 3.4.
    """

    def __init__(self, step: float = 0.1) -> None:
        super().__init__(2)
        self.step = number("step", step)
        if not 0 < self.step <= 0.5:
            raise ValueError(f"step is {step}, expected above 0 and at most 0.5")

    @property
    def reach(self) -> float:
        """`sqrt(1 + 1 / step)`: closer than this to the y axis no step crosses it."""
        return math.sqrt(1 + 1 / self.step)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        x, y = states.unbind(1)
        return torch.stack([x - self.step * x * (x * x - 1), y - self.step * y], dim=1)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """All of them: the wells at x = -1 and x = 1, then the saddle at 0."""
        return torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """`1 - step` and `1 - 2 step` at the wells, `1 + step` and `1 - step` at the saddle."""
        well, saddle = [1 - self.step, 1 - 2 * self.step], [1 + self.step, 1 - self.step]
        return torch.tensor([well, well, saddle], dtype=torch.complex128)

    def basins(self, states: Float[Tensor, "batch dim"]) -> Int64[Tensor, " batch"]:
        """Index of the fixed point that the orbit of each state reaches, 0 or 1 for a well and 2 for the saddle.

        -1 beyond `reach`, where steps cross the y axis and no closed form is known.
        """
        x = states[:, 0]
        side = torch.where(x == 0, 2, (x > 0).long())
        return torch.where(x.abs() < self.reach, side, -1)

    def extra_repr(self) -> str:
        """Settings that determine the map."""
        return f"step={self.step!r}"


class CubeRootNewton(Map):
    """Newton's method for `z^3 = 1`: `F(z) = (2 z + 1 / z^2) / 3` for `z = x + i y`, with three fractal basins.

    The roots are superattracting, multipliers 0 and Lyapunov exponents -inf. A turn by 120 degrees takes each basin
    into the next, so each has a third of every disc around 0. The rays from 0 through the roots belong to the basins of
    those roots, and so does the disc of radius 1/3 around each root, since `F(z) - 1 = (z - 1)^2 (2 z + 1) / (3 z^2)`.
    On the basin boundary, where all three meet, the map is chaotic. At 0 it is not finite.

    Source: Cayley, The Newton-Fourier imaginary problem, American Journal of Mathematics 2, 1879; Peitgen and Richter,
    The Beauty of Fractals, 1986.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        x, y = states.unbind(1)
        square = x * x + y * y
        real, imaginary = x / square, -y / square  # of 1 / z
        return torch.stack(
            [(2 * x + real * real - imaginary * imaginary) / 3, (2 * y + 2 * real * imaginary) / 3], dim=1
        )

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """The roots 1, `exp(2 pi i / 3)` and `exp(-2 pi i / 3)`."""
        height = math.sqrt(3) / 2
        return torch.tensor([[1.0, 0.0], [-0.5, height], [-0.5, -height]], dtype=torch.float64)

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """Zero: Newton's method converges quadratically."""
        return torch.zeros(3, 2, dtype=torch.complex128)

    def two_cycles(self) -> Float64[Tensor, "cycles period dim"]:
        """The three cycles of period 2, all on the basin boundary, with both multipliers 6.

        `z^3` of a state solves `20 w^2 + 5 w + 2 = 0`, and the other state is the conjugate of one of its cube roots.
        """
        first = complex(-5, math.sqrt(135)) / 40
        turns = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
        angle = math.atan2(first.imag, first.real) / 3 + turns
        states = torch.polar(torch.full_like(angle, abs(first) ** (1 / 3)), angle)
        cycles = torch.stack([states, (2 * states + 1 / states.square()) / 3], dim=1)
        return torch.view_as_real(cycles)


def _roots(trace: Tensor, determinant: Tensor) -> Tensor:
    """Eigenvalues of two by two matrices, by falling modulus; of a conjugate pair that above the real axis first."""
    root = (trace.square() - 4 * determinant).to(torch.complex128).sqrt()
    # The root of larger modulus, without cancellation; the other one from the product of both.
    first = (trace + torch.where((root.imag > 0) | (trace >= 0), root, -root)) / 2
    return torch.stack([first, determinant / first], dim=1)
