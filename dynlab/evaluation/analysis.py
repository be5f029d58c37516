"""`Analysis`: everything found out about one map on one set of samples, and the folder on disk that holds it.

`results.json` holds what is a number or a word, `arrays.safetensors` what is an array.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.attractors.basins import Basins
from dynlab.attractors.connections.files import GRAPH_FILE, STATES_FILE, load_graph, save_graph
from dynlab.attractors.cycles import cycles_of_arrays
from dynlab.attractors.robustness.escape_files import ESCAPES_FILE, load_escapes, save_escapes
from dynlab.errors import InputError
from dynlab.evaluation.arrays import ARRAYS_FILE, RESULTS_FILE, Arrays
from dynlab.evaluation.consistency import check_arrays, check_results
from dynlab.evaluation.kinds import Outcome
from dynlab.evaluation.results import SCHEMA_VERSION, Attractor, Results
from dynlab.files import read_tensors, sha256, write_json, write_tensors

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """Everything found out about one map on one set of samples."""

    results: Results
    arrays: Arrays
    graph: nx.MultiGraph | None = None  # as `connection_graph` makes it, with `kind` and `label` of nodes; if asked for
    escapes: nx.DiGraph | None = None  # as `EscapeGraph.to_networkx` makes it; if robustness was asked for

    def __repr__(self) -> str:
        """The map, the samples and what became of them."""
        results = self.results
        counts = {"samples": results.data.samples, "attractors": len(results.attractors), "cycles": len(results.cycles)}
        counts |= {outcome: count for outcome, count in results.outcomes.items() if count}
        found = ", ".join(f"{name}={count}" for name, count in counts.items())
        return f"Analysis(map={results.map.name!r}, data={results.data.name!r}, {found})"

    def to_frame(self) -> pd.DataFrame:
        """One row for each attractor, in pandas, which the extra `frames` installs.

        Columns are the entries of `results.attractors`, the index their `id`.
        """
        import pandas as pd

        names = [field.name for field in fields(Attractor)]
        rows = [[getattr(attractor, name) for name in names] for attractor in self.results.attractors]
        return pd.DataFrame(rows, columns=names).astype({"kind": str}).set_index("id")

    def samples_frame(self) -> pd.DataFrame:
        """One row for each sample, in the order of the data, in pandas, which the extra `frames` installs.

        Columns are `attractor` (its id, -1 for none), `cycle` (-1 for none), `outcome`, `true_class` (-1 for none) and
        `steps` (-1 where the limit came first).
        """
        import pandas as pd

        arrays, outcomes = self.arrays, list(Outcome)
        return pd.DataFrame(
            {
                "attractor": arrays.labels.numpy(),
                "cycle": arrays.cycle_labels.numpy(),
                "outcome": [str(outcomes[code]) for code in arrays.outcomes.tolist()],
                "true_class": arrays.classes.numpy(),
                "steps": arrays.steps.numpy(),
            }
        )

    def basin_sizes(self) -> list[int]:
        """Basin sizes of all attractors, falling."""
        return [attractor.basin_size for attractor in self.results.attractors]

    def basins(self) -> Basins:
        """The basins of the samples, as `basins_of_attraction` gives them."""
        labels = self.arrays.labels
        cycles, members = cycles_of_arrays(self.arrays.by_name(), self.results.map.dim, labels)
        residuals = [attractor.residual for attractor in self.results.attractors]
        return Basins(
            map_sha256=self.results.map.sha256,
            fixed_points=self.arrays.fixed_points,
            residuals=torch.tensor(residuals, dtype=torch.float64),
            multipliers=self.arrays.multipliers,
            labels=labels,
            samples=torch.arange(len(labels)),
            cycles=cycles,
            members=members,
        )

    def save(self, folder: str | Path) -> None:
        """Write `results.json` and `arrays.safetensors` into `folder`; the results last, so that all is there.

        A connection graph is written beside them, as `dynlab.attractors.save_graph` does; one that an earlier analysis
        left there is removed. So are escapes, as `dynlab.attractors.robustness.escape_files.save_escapes` does.

        Raises:
            InputError: If the folder cannot be written to.
        """
        folder = Path(folder)
        arrays = self.arrays.by_name()
        arrays["multipliers"] = torch.view_as_real(arrays["multipliers"])  # safetensors holds no complex128
        write_tensors(folder / ARRAYS_FILE, arrays)
        if self.graph is not None:
            save_graph(folder, self.graph)
        if self.escapes is not None:
            save_escapes(folder, self.escapes)
        files = {name: sha256(folder / name) for name in self._files()}
        write_json(folder / RESULTS_FILE, {**asdict(self.results), "files": files})
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
            files = TypeAdapter(dict[str, str]).validate_python(raw.get("files", {}))
        except InputError:
            raise
        except ValidationError as error:  # a kind of ValueError, of several lines
            first = error.errors()[0]
            words = ": ".join([".".join(map(str, first["loc"])), first["msg"]]).removeprefix(": ")
            raise InputError(f"{path}: not the results of an analysis ({words})") from error
        except (RecursionError, ValueError) as error:
            raise InputError(f"{path}: not the results of an analysis ({str(error).splitlines()[0]})") from error
        path = Path(folder) / ARRAYS_FILE
        tensors, _ = read_tensors(path)
        if "multipliers" in tensors and tensors["multipliers"].dtype == torch.float64:
            if tensors["multipliers"].shape[-1:] != (2,):
                raise InputError(f"{path}: array multipliers has shape {tuple(tensors['multipliers'].shape)}")
            tensors["multipliers"] = torch.view_as_complex(tensors["multipliers"].contiguous())
        try:
            check_arrays(tensors, results)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        arrays = Arrays(**{array.name: tensors[array.name] for array in fields(Arrays) if array.name in tensors})
        try:
            check_results(results, arrays)
        except ValueError as error:
            raise InputError(f"{path.with_name(RESULTS_FILE)}: {error}") from error
        graph = None if results.connections is None else load_graph(folder)
        if graph is not None and graph.graph["map_sha256"] != results.map.sha256:
            raise InputError(f"{Path(folder) / GRAPH_FILE}: of another map than {RESULTS_FILE} beside it")
        escapes = None if results.robustness is None else load_escapes(folder)
        if escapes is not None and (
            escapes.graph["map_sha256"] != results.map.sha256 or len(escapes) != len(results.attractors)
        ):
            raise InputError(f"{Path(folder) / ESCAPES_FILE}: of another map than {RESULTS_FILE} beside it")
        analysis = Analysis(results, arrays, graph, escapes)
        # An analysis that was interrupted while it was saved leaves new files beside the results of an older one.
        for name in analysis._files():
            if name in files and files[name] != sha256(Path(folder) / name):
                raise InputError(f"{Path(folder) / name}: does not belong to {RESULTS_FILE} beside it; analyse again")
        return analysis

    def _files(self) -> list[str]:
        """Names of the files beside the results that belong to them."""
        return [ARRAYS_FILE] + [GRAPH_FILE] * (self.graph is not None) + [ESCAPES_FILE] * (self.escapes is not None)


def _advice(found: object) -> str:
    """What to do about another schema version."""
    if not isinstance(found, int):
        return ""
    if found < SCHEMA_VERSION:
        return ": written by an older dynlab, which did not find out all of this; analyse the map again"
    return ": written by a newer dynlab, which is needed to read it"
