"""`Results`: what an analysis found out that is a number or a word, as `results.json` holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynlab.attractors.diversity import Diversity
from dynlab.errors import InputError
from dynlab.evaluation.approach import EnergySummary, RateSummary
from dynlab.evaluation.connections import Connections
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.linearization import AttractorCertificate, IndexSum, Linearization
from dynlab.evaluation.pictured import PicturedFixedPoint
from dynlab.evaluation.planes import PlanePicture
from dynlab.evaluation.recognizer import RecognizerReport
from dynlab.evaluation.restless import RestlessSummary
from dynlab.evaluation.robustness_results import Robustness
from dynlab.evaluation.separability import Separability
from dynlab.protocol import OBJECTIVE
from dynlab.short_repr import short_repr
from dynlab.training.corruption import Gaussian, Schedule, parse_schedule

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Attractor:
    """One attractor that samples reach; `id` is its row in the arrays."""

    id: int
    kind: Kind
    label: int | None  # class of a prototype
    basin_size: int
    basin_fraction: float  # of all samples, unresolved ones included
    max_intensity: float
    black_fraction: float
    white_fraction: float
    spectral_radius: float
    residual: float  # ||F(x) - x||_2 in float64, relative to max(1, ||x||_2)
    recognized_as: int | None  # the recognizer's nearest class, whatever the kind
    recognizer_score: float | None  # at the recognizer's threshold or above: a member of that class
    basin_interval: tuple[float, float]  # 95%, of the basin fraction
    class_counts: dict[int, int]  # members of each class that occurs
    purity: float | None  # share of the majority class among members with a class
    majority_class: int | None
    median_steps: float | None  # to converge, of members that did before the limit
    slow_steps: float | None  # the 90% quantile of them
    nearest: list[int]  # samples that start nearest to it, nearest first
    farthest: list[int]  # samples that start farthest from it, farthest first


@dataclass(frozen=True)
class PeriodicAttractor:
    """One cycle that samples reach. It has no kind, as its states differ; its samples have the outcome `cycle`."""

    period: int  # number of its states, at least 2
    basin_size: int
    basin_fraction: float  # of all samples, unresolved ones included
    spectral_radius: float  # factor per round by which orbits approach it
    residual: float  # the largest ||F(x) - y||_2 of a state and the next one, relative to max(1, ||y||_2)


@dataclass(frozen=True)
class MapIdentity:
    """Which map was analysed."""

    name: str
    kind: str
    sha256: str
    dim: int
    state_shape: tuple[int, ...]
    description: str
    training: dict[str, Any]  # settings of the training as the checkpoint tells them; `sigma` is the corruption level

    @property
    def corruption_level(self) -> float | None:
        """Standard deviation of the Gaussian corruption the map was trained with, if known."""
        schedule = self._schedule()
        kinds = [] if schedule is None else [phase.corruption for phase in schedule.phases]
        return float(kinds[0].level) if len(kinds) == 1 and isinstance(kinds[0], Gaussian) else None

    @property
    def corruption(self) -> str | None:
        """What the map was trained with, with all levels, if that is known and is not Gaussian noise of one level."""
        schedule = self._schedule()
        return None if schedule is None or self.corruption_level is not None else str(schedule)

    @property
    def objective(self) -> str:
        """In which ways it was trained on another objective than the report's, in words; empty if in none."""
        words = {name: self.training.get(name, value) for name, value in OBJECTIVE.items()}
        if self.training.get("walkback") == 1:  # all variants are one
            words["walkback_variant"] = OBJECTIVE["walkback_variant"]
        return ", ".join(f"{name.replace('_', ' ')} {word}" for name, word in words.items() if word != OBJECTIVE[name])

    def _schedule(self) -> Schedule | None:
        corruption, sigma = self.training.get("corruption", "gaussian"), self.training.get("sigma")
        if not isinstance(corruption, str) or not isinstance(sigma, int | float | None):
            return None
        try:
            return parse_schedule(corruption, None if sigma is None else float(sigma))
        except InputError:  # of another program, or nothing is known
            return None


@dataclass(frozen=True)
class DataIdentity:
    """Which samples went in."""

    name: str
    sha256: str
    samples: int
    labelled: bool
    black_fraction: float | None = None  # of the raw pixels, to compare those of the transformed set with
    white_fraction: float | None = None


@dataclass(frozen=True)
class TransformedSet:
    """Where a set stands when the report's quantile rule stops it: its transformed set, section 5.4."""

    samples: int
    steps: int  # at which all samples of the set were stopped
    stopped_by_rule: bool  # False: the limit of steps came first
    explosions: int
    black_fraction: float
    white_fraction: float


@dataclass(frozen=True)
class Results:
    """All numbers and words of an analysis."""

    __repr__ = short_repr

    schema_version: int
    title: str
    map: MapIdentity
    data: DataIdentity
    train_data: DataIdentity | None
    recognizer_data: DataIdentity | None
    settings: dict[str, Any]
    seeds: dict[str, int]
    versions: dict[str, str]
    attractors: list[Attractor]
    statuses: dict[str, int]  # number of samples of each `Status`
    outcomes: dict[str, int]  # number of samples of each `Outcome`
    rates: RateSummary
    linearizations: list[Linearization]  # of the largest basins
    certificates: list[AttractorCertificate]  # of the largest basins
    index_sum: IndexSum | None  # None where no sum is known to be expected
    energy: EnergySummary | None  # None where the map has none
    transformed: TransformedSet
    transformed_train: TransformedSet | None
    recognizer: RecognizerReport | None
    separability: Separability | None
    diversity: Diversity  # of the basins
    cycles: list[PeriodicAttractor]  # by falling basin size
    planes: list[PlanePicture]  # pictures of basins
    restless: RestlessSummary | None  # None where no sample has the status unresolved
    # On the picture of a map of one or two numbers, lexicographically; None for other maps, and where there is none.
    pictured: list[PicturedFixedPoint] | None
    connections: Connections | None  # None where no connection graph was asked for
    robustness: Robustness | None  # None where it was not asked for
