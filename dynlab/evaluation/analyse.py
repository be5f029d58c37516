"""`analyse`: find out everything about one map on one set of samples.

Every sample is iterated to its attractor; attractors get their kinds and samples their outcomes; the whole set is
transformed as the report did it. Basins are counted, and drawn on planes through attractors. The largest attractors are
linearized and certified, and the rates at which recorded samples come to rest are compared with spectral radii. With a
labelled training set, linear separability is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors import basin_diversity, basin_statistics, basins_of_orbits, connection_graph
from dynlab.attractors.cycles import cycle_arrays
from dynlab.datasets import Dataset, dataset_of, labels_of
from dynlab.dynamics import FixedPoint, Orbits, Status, Transformed, iterate, transform
from dynlab.dynamics.balls import balls
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.sources import tensor_of
from dynlab.errors import InputError
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.approach import decay_codes, energy_of, rates_of
from dynlab.evaluation.arrays import Arrays, outcome_codes
from dynlab.evaluation.attractors import attractors_of, cycles_of, transformed_set
from dynlab.evaluation.connections import connections_of, name_nodes
from dynlab.evaluation.films import FILM_STEPS, film_samples, film_states
from dynlab.evaluation.identity import data_identity, map_identity, shown_shape, versions_used
from dynlab.evaluation.inputs import check_inputs, learnable
from dynlab.evaluation.kinds import Outcome, outcomes_of
from dynlab.evaluation.linearization import certificates, index_sum, linearizations
from dynlab.evaluation.members import NAMED_STARTS, typical_members
from dynlab.evaluation.pictures import pictures_of
from dynlab.evaluation.recognizer import Recognizer, train_recognizer
from dynlab.evaluation.restless import restless_of
from dynlab.evaluation.results import SCHEMA_VERSION, Results
from dynlab.evaluation.robustness import robustness_of
from dynlab.evaluation.separability import ORBIT_STEPS, LabelledSet, separability
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.files import printable
from dynlab.maps import Map, check_map, flat_states

# Called with what is being done, and how much of it is done, from 0 to 1.
Progress = Callable[[str, float], None]


def analyse(
    system: Map,
    data: Dataset | Float[Tensor, "samples ..."] | NDArray[np.floating],
    *,
    train_data: Dataset | None = None,
    recognizer_data: Dataset | None = None,
    recognizer: Recognizer | None = None,
    settings: AnalysisSettings | None = None,
    name: str = "map",
    title: str | None = None,
    on_progress: Progress | None = None,
) -> Analysis:
    """Find out where a map takes the samples of `data`, and what that means.

    Args:
        system: The map, on the device that shall compute.
        data: The samples; a bare tensor or array, of shape (samples, dim), or shaped as states are, is a data set
            without labels. Data sets are in float32.
        train_data: A labelled training set of the same classes; separability is measured if it is given.
        recognizer_data: Labelled raw images to train the recognizer on; `train_data`, or `data` itself, stands in if
            that is labelled, with a few samples of several classes, and has pixels in [0, 1]. Without any, what needs a
            recognizer is unknown.
        recognizer: One that was trained on `recognizer_data`, which must be given too, before.
        settings: How to analyse; the defaults are those of the report where it has any.
        name: What the map is called.
        title: What the analysis is called; made from the name if not given.
        on_progress: Called with what is being done and how much of it is done, from 0 to 1.

    Returns:
        The analysis, on the CPU.

    Raises:
        InputError: If two of the data sets and the map do not fit together, a needed label is missing, or attractors
            shall be certified by proof and python-flint is not installed.
    """
    check_map(system)
    if not isinstance(data, Dataset):
        data = flat_states(system, tensor_of(data) if isinstance(data, np.ndarray) else data, parameter="data")
        data = dataset_of(data, name="samples", shape=system.state_shape)
    name = printable(name)
    if recognizer is not None and recognizer_data is None:
        raise ValueError("recognizer is given without recognizer_data, expected both")
    shape = shown_shape(system, data)
    if recognizer is not None and math.prod(recognizer.state_shape) != system.dim:
        raise ValueError(f"recognizer is for states of shape {recognizer.state_shape}, expected {system.dim} numbers")
    recognizer_data = recognizer_data or learnable(train_data) or learnable(data)
    settings = settings or AnalysisSettings()
    report = on_progress or (lambda what, done: None)
    check_inputs(system, data, train_data, recognizer_data)
    if settings.certified_attractors and settings.certificate_method == "proof":
        balls()  # raises if python-flint is not there

    identity = map_identity(system, name, shape)

    # Before the long work, so that data it cannot learn from are refused at once.
    if recognizer is None and recognizer_data is not None:
        recognizer = _recognizer(system, recognizer_data, shape, settings, report)
    orbits = _iterate(system, data, settings, settings.recorded_samples, (), "orbits", report)
    basins = basins_of_orbits(system, orbits)
    transformed = _transform(system, data, settings, "transformed set", report)

    restless, restless_states = restless_of(
        system, orbits, settings.tolerance, lambda done: report("unresolved samples", done)
    )
    report("rates and energy", 0.0)
    rates, rate_summary = rates_of(orbits, basins)
    energy = energy_of(system, data.images[orbits.recorded])
    report("rates and energy", 1.0)
    linearized = linearizations(
        system, basins.fixed_points[: settings.linearized_attractors], lambda done: report("linearization", done)
    )
    certified = certificates(
        system,
        basins.fixed_points[: settings.certified_attractors],
        settings.certificate_method,
        lambda done: report("certificates", done),
    )

    transformed_train, separable = None, None
    if train_data is not None:
        transformed_train = _transform(system, train_data, settings, "transformed training set", report)
        train_basins, test_basins = _common_basins(system, train_data, orbits, settings, report)
        separable = separability(
            system,
            _labelled_set(train_data),
            _labelled_set(data),
            transformed_train=transformed_train.states,
            transformed_test=transformed.states,
            train_basins=train_basins,
            test_basins=test_basins,
            orbit_train_samples=settings.orbit_train_samples,
            on_fit=_counted("logistic regression", 2 + len(ORBIT_STEPS), report),
        )
        report("logistic regression", 1.0)

    statistics = basin_statistics(basins, data.images, orbits.steps, data.labels, NAMED_STARTS)
    member_samples, member_states = typical_members(statistics, data.images)
    attractors = attractors_of(basins, recognizer, statistics)
    looks = [(attractor.kind, attractor.label) for attractor in attractors]
    outcomes = outcomes_of(
        basins.labels,
        data.labels,
        [kind for kind, _ in looks],
        [label for _, label in looks],
        cycling=basins.cycle_labels >= 0,
        diverged=orbits.status.are(Status.DIVERGED),
    )
    films = film_samples(data, outcomes, settings.seed)
    pictures = pictures_of(
        system, basins, looks, orbits.fixed_points, data.images, restless, restless_states, settings, report
    )
    graph = None
    if settings.graph:
        report("connection graph", 0.0)
        graph = connection_graph(
            system, basins, samples=data.images, on_progress=lambda done: report("connection graph", done)
        )
        name_nodes(graph, looks)

    robust, shock_states, escapes = None, None, None
    if settings.robustness:
        robust, shock_states, escapes = robustness_of(
            system,
            basins,
            data.images,
            certified,
            identity.corruption_level,
            settings,
            report,
        )

    results = Results(
        schema_version=SCHEMA_VERSION,
        title=printable(title or name),
        map=identity,
        data=data_identity(data),
        train_data=None if train_data is None else data_identity(train_data),
        recognizer_data=None if recognizer_data is None else data_identity(recognizer_data),
        settings={**_settings(settings), "device": home_of(system, data.images).device.type},
        seeds={"recognizer": settings.seed, "film_strips": settings.seed}
        | ({"shocked_samples": settings.seed, "noise": settings.seed} if settings.robustness else {}),
        versions=versions_used(),
        attractors=attractors,
        statuses=orbits.status.counts(),
        outcomes={str(outcome): sum(o is outcome for o in outcomes) for outcome in Outcome},
        rates=rate_summary,
        linearizations=linearized,
        certificates=certified,
        index_sum=index_sum(system, len(attractors)),
        energy=energy,
        transformed=transformed_set(transformed),
        transformed_train=None if transformed_train is None else transformed_set(transformed_train),
        recognizer=None if recognizer is None else recognizer.report,
        separability=separable,
        diversity=basin_diversity([attractor.basin_size for attractor in attractors]),
        cycles=cycles_of(basins),
        planes=pictures.planes.pictures,
        restless=restless,
        pictured=pictures.fixed_points,
        connections=None if graph is None else connections_of(graph, len(attractors)),
        robustness=robust,
    )
    arrays = Arrays(
        fixed_points=basins.fixed_points,
        multipliers=basins.multipliers,
        labels=basins.labels,
        outcomes=outcome_codes(outcomes),
        classes=data.labels if data.labels is not None else torch.full((len(data.images),), -1),
        steps=orbits.steps,
        recorded_samples=orbits.recorded,
        step_lengths=orbits.step_lengths,
        rates=rates.rate,
        rate_sensitivities=rates.sensitivity,
        rate_deviations=rates.deviation,
        rate_windows=torch.stack([rates.first, rates.last], dim=1),
        rate_transients=rates.transient,
        rate_decays=decay_codes(rates),
        film_samples=films,
        film_steps=torch.tensor([*FILM_STEPS, -1]),
        film_states=film_states(system, data.images[films], orbits.states[films].float()),
        member_samples=member_samples,
        member_states=member_states,
        **pictures.arrays(),
        restless_states=restless_states,
        shock_starts=None if shock_states is None else shock_states.starts,
        shock_ends=None if shock_states is None else shock_states.ends,
        shock_others=None if shock_states is None else shock_states.others,
        **cycle_arrays(basins.cycles, basins.cycle_labels, system.dim),
    )
    return Analysis(results, arrays, graph, escapes)


def _counted(what: str, total: int, report: Progress) -> Callable[[str], None]:
    """What `separability` calls before each of its fits."""
    begun = 0

    def count(_: str) -> None:
        nonlocal begun
        report(what, begun / total)
        begun += 1

    return count


def _labelled_set(data: Dataset) -> LabelledSet:
    return LabelledSet(data.images, labels_of(data))


def _recognizer(
    system: Map, data: Dataset, shape: tuple[int, ...], settings: AnalysisSettings, report: Progress
) -> Recognizer:
    try:
        return train_recognizer(
            data.images,
            labels_of(data),
            state_shape=shape,
            seed=settings.seed,
            device=home_of(system, data.images).device,
            on_progress=lambda done: report("recognizer", done),
        )
    except InputError as error:
        raise InputError(f"{data.name}: {error}") from error


def _iterate(
    system: Map,
    data: Dataset,
    settings: AnalysisSettings,
    recorded: int,
    known: Sequence[FixedPoint],
    what: str,
    report: Progress,
) -> Orbits:
    report(what, 0.0)
    return iterate(
        system,
        data.images,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
        max_exact_steps=settings.max_exact_steps,
        # Steps are counted up to the tolerance, as the report counts them.
        early_labels=False,
        recorded=recorded,
        to_floor=True,
        known=known,
        on_progress=lambda done: report(what, done),
    )


def _transform(system: Map, data: Dataset, settings: AnalysisSettings, what: str, report: Progress) -> Transformed:
    transformed = transform(
        system,
        data.images,
        tolerance=settings.tolerance,
        share=settings.share,
        max_steps=settings.max_steps,
        on_step=lambda step, below: report(what, min(1.0, below / settings.share) if settings.share else 0.0),
    )
    report(what, 1.0)
    return transformed


def _common_basins(
    system: Map, train_data: Dataset, orbits: Orbits, settings: AnalysisSettings, report: Progress
) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " test"]]:
    """Attractors of the first training samples and of all test samples, numbered alike."""
    first = train_data.first(settings.basin_train_samples)
    train_orbits = _iterate(system, first, settings, 0, orbits.fixed_points, "orbits of training samples", report)
    number = {point: index for index, point in enumerate(orbits.fixed_points)}
    renumbered = np.array([number.setdefault(point, len(number)) for point in train_orbits.fixed_points] + [-1])
    return torch.from_numpy(renumbered[train_orbits.fixed_point.numpy()]), orbits.fixed_point


def _settings(settings: AnalysisSettings) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if name != "seed"}
