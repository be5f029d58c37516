"""What a stage of a study is: a name, a version, what it needs, and a function that fills a folder.

The runner knows nothing else of stages. The function is told all it needs as values of JSON and as paths, so that it
can run in any process that sees the same files; what it writes is determined by them, bit for bit on one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dynlab.errors import InputError

if TYPE_CHECKING:
    from dynlab.datasets import Dataset
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

Json = Any  # what JSON can hold
Report = Callable[[float, str], None]  # the share that is done, from 0 to 1, and a note such as a rate; may raise

_SETS_IN_MEMORY = 3  # train, validation, test


@dataclass(frozen=True)
class Work:
    """What a stage is to do, as far as its cost depends on it."""

    parameters: Json
    sizes: Mapping[str, int]  # samples of the data sets
    dim: int
    products: float  # operations of the products of the map, for one sample; 0 for what belongs to data alone


@dataclass(frozen=True)
class Cost:
    """What a task may cost: roughly, as measured on MNIST and 784-500-784."""

    operations: float  # as many as training does in the same time
    disk: float = 0.0  # bytes that stay


@dataclass(frozen=True)
class Stage:
    """One kind of result of a cell, stored in a folder of its own.

    `parameters(study, cell)` gives all that determines the result besides the cell and the stages that are needed, as a
    dictionary of JSON; `data` in it lists the data sets that are read: "train", "validation", "test". None: the study
    does not ask for this stage.

    `on_device` says whether it takes a device to compute on, which is then kept for it: a GPU where the study uses
    some. A stage that spends its time on the CPU anyway leaves the GPU to others, and is told "cpu".

    `compute(folder, cell, parameters, needed, report)` is a function of a module, as other processes find it by its
    name. It is called where all libraries compute on one thread. It fills the empty `folder`; `manifest.json` is not
    its own. `cell` holds `key` and, but for what belongs to data alone, `settings`. `parameters` are those above, where
    `data` now tells for each set what `dataset_at` takes, and `device` where to compute: "cpu", "cuda" or "cuda:1",
    never "auto". `needed` holds the folders of the stages that are needed. What `report` raises it lets through, as
    that is how an interrupted study ends.

    `shards(parameters, sizes)`, where there is one, parts the work into tasks of their own, each with the parameters
    that it gives for it and a folder `<name>-<number>`; `sizes` are the numbers of samples of the data sets. Who needs
    such a stage finds all of these in `needed`, in their order (`shards_in`).
    """

    name: str
    version: int  # of its results: rises when they change
    needs: tuple[str, ...]  # names of stages, of the same cell or of the data
    parameters: Callable[[Study, Cell | None], dict[str, Json] | None]
    compute: Callable[[Path, Json, Json, Mapping[str, Path], Report], None]
    scope: Literal["cell", "data"] = "cell"  # "data": once for the data of a study, without a cell
    cost: Callable[[Work], Cost] | None = None
    shards: Callable[[dict[str, Json], Mapping[str, int]], Sequence[dict[str, Json]]] | None = None
    on_device: bool = True

    def parts(self, parameters: dict[str, Json], sizes: Mapping[str, int]) -> list[tuple[str, dict[str, Json]]]:
        """The name of each of its folders, and the parameters of what is in there."""
        if self.shards is None:
            return [(self.name, parameters)]
        return [(f"{self.name}-{number:03d}", one) for number, one in enumerate(self.shards(parameters, sizes))]


def shards_in(needed: Mapping[str, Path], stage: str) -> list[Path]:
    """The folders of all shards of a stage, in their order."""
    return [folder for name, folder in needed.items() if name.rpartition("-")[0] == stage]


def dataset_at(where: Mapping[str, Json]) -> Dataset:
    """A data set of a study, kept in memory for the next stage of the same process.

    Args:
        where: Its `name`, `limit` and `data_dir` as `load_dataset` takes them, and the `sha256` it must have.

    Raises:
        InputError: If it cannot be read, or is no longer the one that the study was begun with.
    """
    data_dir = where.get("data_dir")
    return _dataset(where["name"], where.get("limit"), None if data_dir is None else str(data_dir), where["sha256"])


@lru_cache(maxsize=_SETS_IN_MEMORY)
def _dataset(name: str, limit: int | None, data_dir: str | None, sha256: str) -> Dataset:
    from dynlab.datasets import load_dataset
    from dynlab.studies.keys import data_sha256

    data = load_dataset(name, limit=limit, data_dir=data_dir)
    found = data_sha256(data)
    if found != sha256:
        raise InputError(f"{name}: has SHA-256 {found}, expected {sha256} as when the study was begun")
    return data
