"""`Analysis`: everything found out about one map on one set of samples, and the folder on disk that holds it.

`results.json` holds what is a number or a word, `arrays.safetensors` what is an array.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Complex128, Float32, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.diversity import Diversity
from dynlab.attractors.escape_files import ESCAPES_FILE, load_escapes, save_escapes
from dynlab.attractors.graph_files import GRAPH_FILE, STATES_FILE, load_graph, save_graph
from dynlab.errors import InputError
from dynlab.evaluation.approach import EnergySummary, RateSummary
from dynlab.evaluation.connections import Connections
from dynlab.evaluation.kinds import Kind, Outcome
from dynlab.evaluation.linearization import AttractorCertificate, IndexSum, Linearization
from dynlab.evaluation.planes import PlanePicture
from dynlab.evaluation.recognizer import RecognizerReport
from dynlab.evaluation.robustness import Robustness, check_names
from dynlab.evaluation.separability import Separability
from dynlab.files import read_tensors, write_json, write_tensors

if TYPE_CHECKING:
    import networkx as nx

SCHEMA_VERSION = 2
RESULTS_FILE = "results.json"
ARRAYS_FILE = "arrays.safetensors"


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
    # Of the basin; None or empty in folders of a dynlab that did not look for it.
    basin_interval: tuple[float, float] | None = None  # 95%, of the basin fraction
    class_counts: dict[int, int] = field(default_factory=dict)  # members of each class that occurs
    purity: float | None = None  # share of the majority class among members with a class
    majority_class: int | None = None
    median_steps: float | None = None  # to converge, of members that did before the limit
    slow_steps: float | None = None  # the 90% quantile of them
    nearest: list[int] = field(default_factory=list)  # samples that start nearest to it, nearest first
    farthest: list[int] = field(default_factory=list)  # samples that start farthest from it, farthest first


@dataclass(frozen=True)
class PeriodicAttractor:
    """One cycle that samples reach. It has no kind, as its states differ; its samples have the outcome `unresolved`."""

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
        sigma = self.training.get("sigma")
        return float(sigma) if isinstance(sigma, int | float) else None


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
    diversity: Diversity | None = None  # of the basins; None in folders of a dynlab that did not look for it
    planes: list[PlanePicture] | None = None  # pictures of basins; None in folders of a dynlab that drew none
    connections: Connections | None = None  # None where no connection graph was asked for
    robustness: Robustness | None = None  # None where it was not asked for
    cycles: list[PeriodicAttractor] = field(default_factory=list)  # by falling basin size; none in older folders


@dataclass(frozen=True)
class Arrays:
    """All arrays of an analysis. The order of samples is that of the data."""

    fixed_points: Float64[Tensor, "attractors dim"]
    # The leading ones by falling modulus; where some rows have one more, so as to cut no pair, the others end in NaN.
    multipliers: Complex128[Tensor, "attractors leading"]
    labels: Int64[Tensor, " samples"]  # attractor of each sample, -1 for none
    outcomes: Int64[Tensor, " samples"]  # index into `list(Outcome)`
    classes: Int64[Tensor, " samples"]  # true class of each sample, -1 for none
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1 for none
    recorded_samples: Int64[Tensor, " recorded"]
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # down to the rounding floor, then NaN
    # Of step lengths, as in `ConvergenceRates`: NaN and -1 where there is no line.
    rates: Float64[Tensor, " recorded"]  # factor per step
    rate_sensitivities: Float64[Tensor, " recorded"]  # largest change of the rate for a halved or moved window
    rate_deviations: Float64[Tensor, " recorded"]  # largest from the line, in natural logarithms
    rate_windows: Int64[Tensor, "recorded 2"]  # first and last step of the line
    rate_transients: Int64[Tensor, " recorded"]  # steps before the decay begins
    rate_decays: Int64[Tensor, " recorded"]  # index into `list(Decay)`
    film_samples: Int64[Tensor, " films"]
    film_steps: Int64[Tensor, " frames"]  # -1: the final state, the fixed point where there is one
    film_states: Float32[Tensor, "films frames dim"]
    # None in folders of a dynlab that did not store them.
    member_samples: Int64[Tensor, " members"] | None = None  # nearest and farthest ones of the largest basins, rising
    member_states: Float32[Tensor, "members dim"] | None = None  # where they start
    plane_directions: Float64[Tensor, "planes 2 dim"] | None = None  # these four as in `Planes`
    plane_axes: Float64[Tensor, "planes 2 side"] | None = None
    plane_labels: Int64[Tensor, "planes side side"] | None = None
    plane_others: Float64[Tensor, "others dim"] | None = None
    # As in `ShockStates`; None where robustness was not asked for.
    shock_starts: Float64[Tensor, "shocks dim"] | None = None
    shock_ends: Float64[Tensor, "shocks dim"] | None = None
    shock_others: Float64[Tensor, "unsampled dim"] | None = None


@dataclass(frozen=True)
class Analysis:
    """Everything found out about one map on one set of samples."""

    results: Results
    arrays: Arrays
    graph: nx.MultiGraph | None = None  # as `connection_graph` makes it, with `kind` and `label` of nodes; if asked for
    escapes: nx.DiGraph | None = None  # as `EscapeGraph.to_networkx` makes it; if robustness was asked for

    def basin_sizes(self) -> list[int]:
        """Basin sizes of all attractors, falling."""
        return [attractor.basin_size for attractor in self.results.attractors]

    def basins(self) -> Basins:
        """The basins of the fixed points, as `basins_of_attraction` gives them; cycles are left out."""
        residuals = [attractor.residual for attractor in self.results.attractors]
        return Basins(
            map_sha256=self.results.map.sha256,
            fixed_points=self.arrays.fixed_points,
            residuals=torch.tensor(residuals, dtype=torch.float64),
            multipliers=self.arrays.multipliers,
            labels=self.arrays.labels,
            samples=torch.arange(len(self.arrays.labels)),
        )

    def save(self, folder: str | Path) -> None:
        """Write `results.json` and `arrays.safetensors` into `folder`; the results last, so that all is there.

        A connection graph is written beside them, as `dynlab.attractors.save_graph` does; one that an earlier analysis
        left there is removed. So are escapes, as `dynlab.attractors.escape_files.save_escapes` does.

        Raises:
            InputError: If the folder cannot be written to.
        """
        folder = Path(folder)
        arrays = {array.name: getattr(self.arrays, array.name) for array in fields(Arrays)}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        arrays["multipliers"] = torch.view_as_real(arrays["multipliers"])  # safetensors holds no complex128
        write_tensors(folder / ARRAYS_FILE, arrays)
        if self.graph is not None:
            save_graph(folder, self.graph)
        if self.escapes is not None:
            save_escapes(folder, self.escapes)
        write_json(folder / RESULTS_FILE, asdict(self.results))
        if self.graph is None:  # not before the results of the analysis that it belonged to are replaced
            for name in (GRAPH_FILE, STATES_FILE):
                (folder / name).unlink(missing_ok=True)
        if self.escapes is None:
            (folder / ESCAPES_FILE).unlink(missing_ok=True)

    @staticmethod
    def load(folder: str | Path) -> Analysis:
        """Read an analysis back.

        Raises:
            InputError: If a file is missing, damaged, or of another schema.
        """
        from pydantic import TypeAdapter, ValidationError

        path = Path(folder) / RESULTS_FILE
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected the folder of an analysis")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            found = raw.get("schema_version") if isinstance(raw, dict) else None
            if found != SCHEMA_VERSION:
                raise InputError(f"{path}: schema version is {found}, expected {SCHEMA_VERSION}{_advice(found)}")
            results = TypeAdapter(Results).validate_python(raw)
        except InputError:
            raise
        except (RecursionError, ValueError, ValidationError) as error:
            raise InputError(f"{path}: not the results of an analysis ({str(error).splitlines()[0]})") from error
        path = Path(folder) / ARRAYS_FILE
        tensors, _ = read_tensors(path)
        if "multipliers" in tensors and tensors["multipliers"].dtype == torch.float64:
            if tensors["multipliers"].shape[-1:] != (2,):
                raise InputError(f"{path}: array multipliers has shape {tuple(tensors['multipliers'].shape)}")
            tensors["multipliers"] = torch.view_as_complex(tensors["multipliers"].contiguous())
        _check_arrays(path, tensors, results)
        graph = None if results.connections is None else load_graph(folder)
        if graph is not None and graph.graph["map_sha256"] != results.map.sha256:
            raise InputError(f"{Path(folder) / GRAPH_FILE}: of another map than {RESULTS_FILE} beside it")
        escapes = None if results.robustness is None else load_escapes(folder)
        if escapes is not None and (
            escapes.graph["map_sha256"] != results.map.sha256 or len(escapes) != len(results.attractors)
        ):
            raise InputError(f"{Path(folder) / ESCAPES_FILE}: of another map than {RESULTS_FILE} beside it")
        arrays = Arrays(**{array.name: tensors[array.name] for array in fields(Arrays) if array.name in tensors})
        return Analysis(results, arrays, graph, escapes)


def _check_arrays(path: Path, tensors: dict[str, Tensor], results: Results) -> None:
    """Check types, and the lengths that other files and arrays fix; -1 stands for a length of its own."""
    samples, attractors, dim = results.data.samples, len(results.attractors), results.map.dim
    frames, recorded = _length(tensors, "film_steps"), _length(tensors, "recorded_samples")
    expected = {
        "fixed_points": (torch.float64, (attractors, dim)),
        "multipliers": (torch.complex128, (attractors, -1)),
        "labels": (torch.int64, (samples,)),
        "outcomes": (torch.int64, (samples,)),
        "classes": (torch.int64, (samples,)),
        "steps": (torch.int64, (samples,)),
        "recorded_samples": (torch.int64, (-1,)),
        "step_lengths": (torch.float32, (-1, recorded)),
        "rates": (torch.float64, (recorded,)),
        "rate_sensitivities": (torch.float64, (recorded,)),
        "rate_deviations": (torch.float64, (recorded,)),
        "rate_windows": (torch.int64, (recorded, 2)),
        "rate_transients": (torch.int64, (recorded,)),
        "rate_decays": (torch.int64, (recorded,)),
        "film_samples": (torch.int64, (-1,)),
        "film_steps": (torch.int64, (-1,)),
        "film_states": (torch.float32, (-1, frames, dim)),
    }
    expected |= _later_arrays(tensors, results)
    if results.robustness is not None:
        shocks = len(results.robustness.attractor_shocks) + len(results.robustness.sample_shocks)
        expected |= dict.fromkeys(("shock_starts", "shock_ends"), (torch.float64, (shocks, dim)))
        expected["shock_others"] = (torch.float64, (-1, dim))
    for name, (dtype, shape) in expected.items():
        if name not in tensors:
            raise InputError(f"{path}: array {name} is missing")
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(want in (-1, size) for want, size in zip(shape, found, strict=True))
        if tensors[name].dtype != dtype or not fits:
            raise InputError(
                f"{path}: array {name} is {tensors[name].dtype} of shape {found}, expected {dtype} of shape {shape}"
            )
    if [attractor.id for attractor in results.attractors] != list(range(attractors)):
        raise InputError(f"{path.with_name(RESULTS_FILE)}: ids of attractors are not their rows")
    named = [entry.attractor for entry in (*results.linearizations, *results.certificates)]
    named += [attractor for picture in results.planes or () for attractor in picture.attractors]
    if results.robustness is not None:
        try:
            check_names(results.robustness, attractors, len(tensors["shock_others"]), samples)
        except ValueError as error:
            raise InputError(f"{path.with_name(RESULTS_FILE)}: {error}") from error
    for attractor in named:
        if not 0 <= attractor < attractors:
            raise InputError(
                f"{path.with_name(RESULTS_FILE)}: names attractor {attractor}, expected 0 to {attractors - 1}"
            )


def _later_arrays(tensors: dict[str, Tensor], results: Results) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Types and shapes of the arrays that folders of an older dynlab lack: those that the results or the file name."""
    attractors, dim = results.attractors, results.map.dim
    planes, members = -1 if results.planes is None else len(results.planes), _length(tensors, "member_samples")
    side = tensors["plane_axes"].shape[-1] if "plane_axes" in tensors and tensors["plane_axes"].ndim else -1
    for_members = {"member_samples": (torch.int64, (-1,)), "member_states": (torch.float32, (members, dim))}
    for_planes = {
        "plane_directions": (torch.float64, (planes, 2, dim)),
        "plane_axes": (torch.float64, (planes, 2, -1)),
        "plane_labels": (torch.int64, (planes, side, side)),
        "plane_others": (torch.float64, (-1, dim)),
    }
    named = (for_members if any(found.nearest for found in attractors) else {}) | (
        for_planes if results.planes is not None else {}
    )
    return named | {name: expected for name, expected in (for_members | for_planes).items() if name in tensors}


def _advice(found: object) -> str:
    """What to do about another schema version."""
    if not isinstance(found, int):
        return ""
    if found < SCHEMA_VERSION:
        return ": written by an older dynlab, which did not find out all of this; analyse the map again"
    return ": written by a newer dynlab, which is needed to read it"


def _length(tensors: dict[str, Tensor], name: str) -> int:
    """Length of an array with one axis, -1 if there is no such array."""
    return len(tensors[name]) if name in tensors and tensors[name].ndim == 1 else -1


def outcome_codes(outcomes: list[Outcome]) -> Int64[Tensor, " samples"]:
    """Outcomes as indices into `list(Outcome)`."""
    code = {outcome: index for index, outcome in enumerate(Outcome)}
    return torch.tensor([code[outcome] for outcome in outcomes], dtype=torch.int64)
