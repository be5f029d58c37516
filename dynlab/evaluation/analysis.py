"""`Analysis`: everything found out about one map on one set of samples, and the folder on disk that holds it.

`results.json` holds what is a number or a word, `arrays.safetensors` what is an array.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Complex128, Float32, Float64, Int64
from torch import Tensor

from dynlab.attractors.diversity import Diversity
from dynlab.attractors.graph_files import GRAPH_FILE, STATES_FILE, load_graph, save_graph
from dynlab.errors import InputError
from dynlab.evaluation.approach import EnergySummary, RateSummary
from dynlab.evaluation.connections import Connections
from dynlab.evaluation.kinds import Kind, Outcome
from dynlab.evaluation.linearization import AttractorCertificate, IndexSum, Linearization
from dynlab.evaluation.recognizer import RecognizerReport
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
    connections: Connections | None = None  # None where no connection graph was asked for


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


@dataclass(frozen=True)
class Analysis:
    """Everything found out about one map on one set of samples."""

    results: Results
    arrays: Arrays
    graph: nx.MultiGraph | None = None  # as `connection_graph` makes it, with `kind` and `label` of nodes; if asked for

    def basin_sizes(self) -> list[int]:
        """Basin sizes of all attractors, falling."""
        return [attractor.basin_size for attractor in self.results.attractors]

    def save(self, folder: str | Path) -> None:
        """Write `results.json` and `arrays.safetensors` into `folder`; the results last, so that all is there.

        A connection graph is written beside them, as `dynlab.attractors.save_graph` does; one that an earlier analysis
        left there is removed.

        Raises:
            InputError: If the folder cannot be written to.
        """
        folder = Path(folder)
        arrays = {field.name: getattr(self.arrays, field.name) for field in fields(Arrays)}
        arrays["multipliers"] = torch.view_as_real(arrays["multipliers"])  # safetensors holds no complex128
        write_tensors(folder / ARRAYS_FILE, arrays)
        if self.graph is not None:
            save_graph(folder, self.graph)
        write_json(folder / RESULTS_FILE, asdict(self.results))
        if self.graph is None:  # not before the results of the analysis that it belonged to are replaced
            for name in (GRAPH_FILE, STATES_FILE):
                (folder / name).unlink(missing_ok=True)

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
        return Analysis(results, Arrays(**{field.name: tensors[field.name] for field in fields(Arrays)}), graph)


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
    for entry in (*results.linearizations, *results.certificates):
        if not 0 <= entry.attractor < attractors:
            raise InputError(
                f"{path.with_name(RESULTS_FILE)}: names attractor {entry.attractor}, expected 0 to {attractors - 1}"
            )


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
