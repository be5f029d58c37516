"""How orbits approach their attractors: the rate at which steps get shorter, and whether the energy falls.

Step lengths of recorded samples fall along a line on a logarithmic scale, and the rate of that fall should be the
spectral radius of the attractor. Along orbits of a tied sigmoid autoencoder the energy never rises; for an untied one
it is a guide, and these numbers say how far it guides.

Source: Bahdanau and Jaeger 2014, section 6.3 and figure 7; `dynlab.dynamics.rates` and `energy`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors import Basins
from dynlab.dynamics import Orbits, energy_along_orbits
from dynlab.dynamics.rates import ConvergenceRates, Decay, convergence_rate
from dynlab.maps import DenoisingAutoencoder, Map

ENERGY_ORBITS = 100
ENERGY_STEPS = 300


@dataclass(frozen=True)
class RateSummary:
    """Fitted rates of the recorded samples against the spectral radii of their attractors."""

    recorded: int  # samples
    decays: dict[str, int]  # number of recorded samples with each `Decay`
    compared: int  # those with a line and an attractor
    median_difference: float | None  # of |rate - radius| / (1 - radius) over these
    median_transient: float | None  # steps before the decay begins, over those with a line


@dataclass(frozen=True)
class EnergySummary:
    """The energy along some recorded orbits of a sigmoid autoencoder."""

    is_tied: bool  # whether the energy is the map's own; else that of the nearest tied one
    orbits: int
    steps: int  # of each
    rising_share: float  # of rises among the steps that change it by more than rounding can
    lower_share: float  # of orbits that end lower than they began
    largest_rise: float  # in one step, in nats


def rates_of(orbits: Orbits, basins: Basins) -> tuple[ConvergenceRates, RateSummary]:
    """Fit the rates of the recorded samples, and compare them with the spectral radii of `basins`."""
    rates = convergence_rate(orbits)
    radii = radii_of_samples(basins.spectral_radii, basins.labels[orbits.recorded])
    rate, has_line = rates.rate.numpy(), np.array([decay is Decay.EXPONENTIAL for decay in rates.decay], dtype=bool)
    compared = has_line & np.isfinite(radii)
    differences = np.abs(rate - radii)[compared] / (1 - radii[compared])
    return rates, RateSummary(
        recorded=len(rate),
        decays={str(decay): sum(found is decay for found in rates.decay) for decay in Decay},
        compared=int(compared.sum()),
        median_difference=_median(differences),
        median_transient=_median(rates.transient.numpy()[has_line]),
    )


def radii_of_samples(radii: Float64[Tensor, " attractors"], labels: Int64[Tensor, " samples"]) -> NDArray[np.float64]:
    """Spectral radius of each sample's attractor, NaN where it has none."""
    known = torch.cat([radii, torch.full((1,), torch.nan, dtype=torch.float64)])  # -1, for none, is the last
    return known[labels].numpy()


def decay_codes(rates: ConvergenceRates) -> Int64[Tensor, " recorded"]:
    """Decays as indices into `list(Decay)`."""
    code = {decay: index for index, decay in enumerate(Decay)}
    return torch.tensor([code[decay] for decay in rates.decay], dtype=torch.int64)


def energy_of(system: Map, initial_states: Float[Tensor, "samples dim"]) -> EnergySummary | None:
    """Follow the energy along the first 100 orbits that begin in the cube, over 300 steps.

    Returns:
        None unless the map is an autoencoder with sigmoids in both layers, and a sample begins in the cube from 0 to 1.
    """
    if not isinstance(system, DenoisingAutoencoder):
        return None
    if {system.hidden_nonlinearity, system.output_nonlinearity} != {"sigmoid"}:
        return None
    states = initial_states[((initial_states >= 0) & (initial_states <= 1)).all(dim=1)][:ENERGY_ORBITS]
    if not len(states):
        return None
    along = energy_along_orbits(system, states, ENERGY_STEPS)
    return EnergySummary(
        is_tied=system.tied,
        orbits=len(states),
        steps=ENERGY_STEPS,
        rising_share=along.rising_share,
        lower_share=float((along.energies[-1] < along.energies[0]).double().mean()),
        largest_rise=along.largest_rise,
    )


def _median(values: NDArray) -> float | None:
    return float(np.median(values)) if len(values) else None
