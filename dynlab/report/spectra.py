"""Figures of the linearization: multipliers in the complex plane, and fitted rates against spectral radii."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.approach import radii_of_samples
from dynlab.report.figure_data import column_names
from dynlab.report.layout import blank_figure
from dynlab.report.palette import light

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRAWN = 300  # attractors whose multipliers are drawn
_HEIGHT = 420
_ROOM = 0.08  # around what is drawn, as a share of the width
_NARROW = 1.2  # width of a part of the plane up to which it is shown instead of the whole circle
_LEAST_RANGE = 8.0  # of a logarithmic axis, so that some ticks are on it
_LEAST_WRITTEN = 5e-5  # imaginary part that four digits do not round to 0
_TIE = 1e-9  # moduli that differ by no more are equal, relative to the larger


def multipliers_in_the_plane(analysis: Analysis) -> go.Figure:
    """Multipliers of the attractors and cycles in the complex plane, with the unit circle.

    Both axes have one scale. Where all multipliers are near 1, the part of the plane shown has these and 1 in it, else
    the whole circle. At most 300 attractors are drawn, and as many cycles, each with the multipliers of a whole round.
    """
    import plotly.graph_objects as go

    drawn = drawn_attractors(analysis)
    multipliers: NDArray[np.complex128] = analysis.arrays.multipliers.numpy(force=True)[drawn]
    owners = np.broadcast_to(drawn[:, None], multipliers.shape)
    is_known = np.isfinite(multipliers)
    is_leading = is_known & (np.abs(multipliers) >= (1 - _TIE) * np.abs(multipliers[:, :1]))
    figure = blank_figure("real part", "imaginary part", legend=True).update_layout(height=_HEIGHT)
    names = column_names(series="which", x="real_part", y="imaginary_part", custom=["modulus", "attractor"])
    figure.update_layout(meta=names)
    looks: list[tuple[str, NDArray[np.bool_], dict[str, Any]]] = [
        ("other multipliers", is_known & ~is_leading, {"color": light("raw"), "size": 5, "symbol": "circle-open"}),
        ("leading multiplier", is_leading, {"color": light("kept"), "size": 7, "symbol": "diamond"}),
    ]
    for name, chosen, marker in looks:
        values: NDArray[np.complex128] = multipliers[chosen]
        if len(values):
            figure.add_trace(
                go.Scatter(
                    x=np.real(values).tolist(),
                    y=np.imag(values).tolist(),
                    customdata=list(zip(np.abs(values).tolist(), owners[chosen].tolist(), strict=True)),
                    meta=column_names(name=name.removesuffix(" multiplier").removesuffix(" multipliers")),
                    mode="markers",
                    name=name,
                    marker={**marker, "opacity": 0.75},
                    text=[_complex_text(value) for value in values.tolist()],
                    hovertemplate="%{text}, modulus %{customdata[0]:.4f}, attractor %{customdata[1]}<extra></extra>",
                )
            )
    of_cycles = _of_cycles(analysis)
    if of_cycles:
        rounds = np.array([value for value, _ in of_cycles])
        figure.add_trace(
            go.Scatter(
                x=np.real(rounds).tolist(),
                y=np.imag(rounds).tolist(),
                customdata=[(abs(value), f"cycle {number}") for value, number in of_cycles],
                meta=column_names(name="of a cycle"),
                mode="markers",
                name="of a cycle, per round",
                marker={"color": light("cycle"), "size": 6, "symbol": "square-open", "opacity": 0.75},
                text=[_complex_text(value) for value, _ in of_cycles],
                hovertemplate="%{text}, modulus %{customdata[0]:.4f}, %{customdata[1]}<extra></extra>",
            )
        )
    figure.add_hline(y=0, line={"color": light("rule"), "width": 1}, layer="below")
    figure.add_shape(type="circle", x0=-1, x1=1, y0=-1, y1=1, line={"color": light("quiet"), "width": 1.5})
    x_range, y_range = _part_of_the_plane(np.append(multipliers[is_known], [value for value, _ in of_cycles]))
    width = x_range[1] - x_range[0]
    scale: dict[str, Any] = {"constrain": "domain", "tickformat": "~g"}
    scale["dtick"] = 0.5 if width > _NARROW else 0.2 if width > _NARROW / 2 else 0.1
    figure.update_xaxes(range=x_range, **scale)
    return figure.update_yaxes(range=y_range, scaleanchor="x", showgrid=False, **scale)


def _of_cycles(analysis: Analysis) -> list[tuple[complex, int]]:
    """Each multiplier of the cycles with the largest basins, with the number of its cycle."""
    cycles = analysis.basins().cycles[:DRAWN]
    return [(value, number) for number, cycle in enumerate(cycles) for value in cycle.multipliers.tolist()]


def _complex_text(value: complex) -> str:
    """A complex number with four digits, a real one without its imaginary part."""
    if not value.imag:
        return f"{value.real:.4f}"
    return f"{value.real:.4f} {value.imag:+{'.4f' if abs(value.imag) >= _LEAST_WRITTEN else '.1e'}}i"


def drawn_attractors(analysis: Analysis) -> NDArray[np.int64]:
    """Rows of the attractors whose multipliers are drawn: all, or 300 evenly spread over their spectral radii.

    The one with the smallest spectral radius and the one with the largest are among them.
    """
    by_radius = np.argsort(np.abs(analysis.arrays.multipliers[:, :1].numpy(force=True)).ravel(), kind="stable")
    chosen = np.linspace(0, len(by_radius) - 1, min(len(by_radius), DRAWN)).round().astype(int)
    return by_radius[chosen]


def rate_against_radius(analysis: Analysis) -> go.Figure:
    """One less the fitted rate of each recorded sample against one less the spectral radius of its attractor.

    On logarithmic axes, with the diagonal on which they are equal. Samples without a line or an attractor are left out.
    """
    import plotly.graph_objects as go

    arrays = analysis.arrays
    samples = arrays.recorded_samples
    radii = radii_of_samples(arrays.multipliers[:, :1].abs().reshape(-1), arrays.labels[samples])
    rates = arrays.rates.numpy(force=True)
    known = np.isfinite(radii) & np.isfinite(rates)
    figure = blank_figure("1 − spectral radius", "1 − fitted rate", legend=False).update_layout(height=_HEIGHT)
    if not known.any():
        return figure
    x, y = 1 - radii[known], 1 - rates[known]
    columns: dict[str, NDArray[Any]] = {
        "sample": samples.numpy(force=True),
        "attractor": arrays.labels[samples].numpy(force=True),
        "spectral_radius": radii,
        "fitted_rate": rates,
    }
    least, most = 0.8 * min(x.min(), y.min()), 1.25 * max(x.max(), y.max())
    wider = max(1.0, _LEAST_RANGE * least / most) ** 0.5
    least, most = least / wider, most * wider
    figure.add_trace(
        go.Scatter(
            # The word stands above the line, a little before its end, where it does not touch it.
            x=[least, 0.7 * most, most],
            y=[least, 0.7 * most, most],
            mode="lines+text",
            line={"color": light("quiet"), "width": 1, "dash": "dot"},
            text=["", "equal", ""],
            textposition="top left",
            textfont={"size": 12, "color": light("quiet")},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x.tolist(),
            y=y.tolist(),
            customdata=list(zip(*(column[known].tolist() for column in columns.values()), strict=True)),
            meta=column_names(x="", y="", custom=list(columns)),
            mode="markers",
            marker={"color": light("kept"), "size": 6, "symbol": "circle-open"},
            opacity=0.7,
            hovertemplate="sample %{customdata[0]}: rate %{customdata[3]:.5f}, spectral radius %{customdata[2]:.5f}"
            "<extra></extra>",
        )
    )
    scale: dict[str, Any] = {"type": "log", "range": np.log10([least, most]).tolist(), "tickformat": "~g"}
    scale["dtick"] = "D2" if most < 1000 * least else 1  # 1, 2 and 5 of each decade, or 1 alone
    return figure.update_xaxes(**scale).update_yaxes(**scale)


def _part_of_the_plane(points: NDArray[np.complex128]) -> tuple[list[float], list[float]]:
    """Ranges of the real and the imaginary axis."""
    left, height = min([0.6, *points.real]), max([0.0, *np.abs(points.imag)])
    width = max(1 - left, 2 * height)
    if width > _NARROW / (1 + 2 * _ROOM):
        return [-1 - 2 * _ROOM, 1 + 2 * _ROOM], [-1 - 2 * _ROOM, 1 + 2 * _ROOM]
    room = _ROOM * width
    return [1 - width - room, 1 + room], [-width / 2 - room, width / 2 + room]
