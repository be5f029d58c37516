"""What a study asks, from a TOML file: data, a grid of trainings, what is found out about each, and what a page shows.

    title = "Walkback"
    question = "Does walkback make the fixed points easier to classify?"
    published = "table_1a"            # which published figures stand beside ours: "table_1a" or "table_1b"
    discussion = "..."                # what the author makes of the answers: Markdown, of which the page knows
                                      # paragraphs, lists with dashes, **strong**, *emphasis*, `code` and [links](https://...)

    [data]                            # names or files as `load_dataset` takes them, files seen from the current folder
    train = "mnist/train"
    validation = "mnist/validation"   # chooses the best step along the orbit
    test = "mnist/test"
    limit_train = 1000                # the first samples only; also limit_validation, limit_test

    [[grid]]                          # one or several, added up; each the product of its lists
    sigma = [0.3, 0.5, 0.7]           # all settings of a training, and
    epochs = [100, 250]               # several: the others are snapshots of the longest training
    hidden = [500, [500, 100]]        # a list within the list is a deeper encoder
    seeds = 5                         # so many, from 0 on; or a list

    [iteration]                       # when a set stops, as `transform` takes it
    tolerance = 1e-4
    share = 0.75
    max_steps = 10000

    [analyses]                        # what is there is computed; graph and spectra need basins
    separability = { orbit_train_samples = 20000 }
    basins = { samples = 2000 }       # of the test set, the first ones; in tasks of `shard` = 2000 each
    spectra = { attractors = 20 }     # the largest ones
    graph = { attractors = 30 }

    [page]
    figures = ["table", "films"]      # without it all that the analyses allow

Nothing runs before all of it is found right. What is wrong is told all at once, a line each.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dynlab import protocol
from dynlab.datasets import check_dataset_name
from dynlab.errors import InputError
from dynlab.files import printable
from dynlab.published import Published
from dynlab.studies.points import Grid, equal_cells, points_of, readable_grid
from dynlab.studies.wording import Problem, meant, problems_of, refused
from dynlab.training import TrainingSettings

Figure = Literal[
    "table",
    "accuracy_and_explosions",
    "reconstruction",
    "films",
    "fixed_points",
    "convergence",
    "weights",
    "along_orbit",
    "explosions",
    "graph",
]
# The analysis that each figure of a page shows; None where training and iteration are enough.
FIGURES: Mapping[str, str | None] = {
    "table": "separability",
    "accuracy_and_explosions": "separability",
    "reconstruction": None,
    "films": None,
    "fixed_points": "separability",
    "convergence": None,
    "weights": None,
    "along_orbit": "separability",
    "explosions": "basins",
    "graph": "graph",
}
# The analysis whose results each takes.
NEEDS: Mapping[str, str] = {"spectra": "basins", "graph": "basins"}

_Count = Annotated[int, Field(ge=1, le=10**9)]


def _known_data(name: str) -> str:
    try:
        check_dataset_name(name)
    except InputError as error:
        raise PydanticCustomError("words", "{words}", {"words": str(error)}) from None
    return name


def _plain(text: str) -> str:
    """Text without characters that terminals obey, or that turn the direction of what follows."""
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cf") and character not in "\n\t\u200d":
            words = f"has the control character U+{ord(character):04X} at place {place}, expected text without"
            raise PydanticCustomError("words", "{words}", {"words": words})
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("words", "{words}", {"words": f"{text!r}, expected some text"})
    return text


def _as_tuple(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


_DataName = Annotated[str, AfterValidator(_known_data)]
_Text = Annotated[str, AfterValidator(_plain)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class DataNames(_Table):
    """Which data sets, by the names or files that `load_dataset` takes, and how many samples of each."""

    train: _DataName = Field(description="the name of a data set or a file")
    validation: _DataName | None = None
    test: _DataName = Field(description="the name of a data set or a file")
    limit_train: _Count | None = None
    limit_validation: _Count | None = None
    limit_test: _Count | None = None

    @property
    def given(self) -> dict[str, tuple[str, int | None]]:
        """Name and limit of each set that there is, by its role."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: (name, getattr(self, f"limit_{role}")) for role, name in named.items() if name is not None}


class IterationRule(_Table):
    """When a set that is transformed stops, as `dynlab.dynamics.transform` takes it."""

    # Step length, in units of the state.
    tolerance: float = Field(default=protocol.TOLERANCE, gt=0, allow_inf_nan=False)
    share: float = Field(default=protocol.SHARE, ge=0, lt=1)  # of the set, above which it stops
    max_steps: _Count = 10_000


class SeparabilityParameters(_Table):
    """How well classes can be told apart on transformed sets and along the orbit."""

    orbit_train_samples: _Count = 20_000  # classified along the orbit, the first ones


class BasinsParameters(_Table):
    """Where samples of the test set go."""

    samples: _Count = 2000  # the first ones
    shard: _Count = 2000  # so many are one task


class SpectraParameters(_Table):
    """The leading multipliers of attractors."""

    attractors: _Count = 20  # with the largest basins


class GraphParameters(_Table):
    """The saddles between attractors."""

    attractors: _Count = 30  # with the largest basins


class Analyses(_Table):
    """What is found out beside training and iteration: the parameters of each analysis, None if not asked for."""

    separability: SeparabilityParameters | None = None
    basins: BasinsParameters | None = None
    spectra: SpectraParameters | None = None
    graph: GraphParameters | None = None


class _Page(_Table):
    figures: Annotated[tuple[Figure, ...], BeforeValidator(_as_tuple)] = Field(default=(), min_length=1)  # (): all


class _File(_Table):
    title: Annotated[str, AfterValidator(_plain), AfterValidator(_not_blank)] | None = None
    question: _Text = ""
    discussion: _Text = ""
    published: Published | None = None
    data: DataNames = Field(description="a table [data]")
    grid: Annotated[tuple[Grid, ...], BeforeValidator(_as_tuple)] = Field(
        description="at least one table [[grid]]", min_length=1
    )
    iteration: IterationRule = IterationRule()
    analyses: Analyses = Analyses()
    page: _Page = _Page()


_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): _File,
    ("data",): DataNames,
    ("grid",): Grid,
    ("iteration",): IterationRule,
    ("analyses",): Analyses,
    ("analyses", "separability"): SeparabilityParameters,
    ("analyses", "basins"): BasinsParameters,
    ("analyses", "spectra"): SpectraParameters,
    ("analyses", "graph"): GraphParameters,
    ("page",): _Page,
}


@dataclass(frozen=True, kw_only=True)
class Study:
    """A specification that was found right."""

    name: str  # of its file, without the suffix
    path: Path
    title: str
    question: str
    discussion: str  # what its author makes of the answers, in Markdown
    published: Published | None  # which published figures stand beside ours
    data: DataNames
    grids: tuple[tuple[TrainingSettings, ...], ...]  # the points of each grid, in the order of `points.DIMENSIONS`
    iteration: IterationRule
    analyses: Analyses
    figures: tuple[Figure, ...]  # of the page, in their order


def load_study(source: str | Path) -> Study:
    """Read a study and check all that can be known before data are loaded.

    Args:
        source: A path that ends in `.toml`, or the name of one of the `shipped_studies`.

    Raises:
        InputError: If there is no such study, it is no TOML, or something in it is wrong; with a line for each thing:
            file, dotted key, what was found, what was expected.
    """
    path = _path_of(source)
    raw = _read(path)
    problems: list[Problem] = []
    file = None
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        problems += problems_of(error, raw, _TABLES)
    grids = []
    tables = raw.get("grid")
    for number, table in enumerate(tables if isinstance(tables, list) else []):
        points, found = points_of(readable_grid(table if isinstance(table, dict) else {}))
        prefix = f"grid[{number}]"
        problems += [Problem(f"{prefix}.{problem.key}" if problem.key else prefix, problem.words) for problem in found]
        grids.append((number, points))
    problems += equal_cells(grids)
    problems += _impossible(raw)
    if problems or file is None:  # the second for the type checker alone
        raise refused(path, problems)
    computed = {None, *(name for name in Analyses.model_fields if getattr(file.analyses, name) is not None)}
    possible = tuple(figure for figure in get_args(Figure) if FIGURES[figure] in computed)
    return Study(
        name=path.stem,
        path=path,
        title=file.title or path.stem,
        question=file.question,
        discussion=file.discussion,
        published=file.published,
        data=file.data,
        grids=tuple(tuple(points) for _, points in grids),
        iteration=file.iteration,
        analyses=file.analyses,
        figures=file.page.figures or possible,
    )


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name: from the wheel, or from the repository around the package."""
    package = Path(str(resources.files("dynlab")))
    folder = next((folder for folder in (package / "analyses", package.parent / "analyses") if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _path_of(source: str | Path) -> Path:
    if isinstance(source, Path) or source.endswith(".toml"):
        return Path(source)
    shipped = shipped_studies()
    if source not in shipped:
        names = ", ".join(shipped)
        raise InputError(
            f"{source!r}: no such study, expected the path of a .toml file or one of {names}{meant(source, shipped)}"
        )
    return shipped[source]


def _read(path: Path) -> dict[str, Any]:
    where = printable(str(path))
    try:
        if not path.is_file():
            raise InputError(f"{where}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}: line {line}: not UTF-8, expected TOML") from error
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (.*)\)", str(error), re.DOTALL)
        place, words = (f"{found[2]}: ", found[1]) if found else ("", str(error))
        raise InputError(f"{where}: {place}no TOML: {words}") from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise InputError(f"{where}: cannot be read as TOML ({error})") from error


def _impossible(raw: Mapping[str, Any]) -> list[Problem]:
    """What lacks what it needs; told beside whatever else is wrong, so that tables may be none."""
    analyses, page, data = (
        table if isinstance(table := raw.get(name), dict) else {} for name in ("analyses", "page", "data")
    )
    problems = []
    if "limit_validation" in data and "validation" not in data:
        problems.append(Problem("data.limit_validation", "there is no data.validation, expected it beside its limit"))
    problems += [
        Problem(
            f"analyses.{name}", f"there is no analyses.{needed}, expected it beside {name}, which takes its results"
        )
        for name, needed in NEEDS.items()
        if name in analyses and needed not in analyses
    ]
    figures = page.get("figures")
    seen: set[str] = set()
    for place, figure in enumerate(figures if isinstance(figures, list) else []):
        key = f"page.figures[{place}]"
        if not isinstance(figure, str) or figure not in FIGURES:
            continue
        needed = FIGURES[figure]
        if needed is not None and needed not in analyses:
            problems.append(Problem(key, f"{figure!r}, expected analyses.{needed}, which it shows"))
        if figure in seen:
            problems.append(Problem(key, f"{figure!r} twice, expected each figure once"))
        seen.add(figure)
    return problems
