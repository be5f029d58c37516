"""Analyses made up for the tests of the report: plausible, seeded, and cheap; no map was iterated for them."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import networkx as nx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dynlab.attractors import Basins, Saddle, Track, Tracked, basin_diversity, basin_statistics
from dynlab.attractors.cycles import cycle_arrays
from dynlab.attractors.planes import basin_entropy_of
from dynlab.attractors.robustness.chain import markov_chain
from dynlab.attractors.robustness.escape import EscapeGraph
from dynlab.attractors.robustness.pulled_back import LowerBound
from dynlab.datasets import load_dataset
from dynlab.dynamics.certificates import CertificateStatus
from dynlab.dynamics.rates import ConvergenceRates, Decay, rates_of_step_lengths
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.approach import EnergySummary, RateSummary, decay_codes
from dynlab.evaluation.arrays import Arrays, outcome_codes
from dynlab.evaluation.connections import connections_of, name_nodes
from dynlab.evaluation.kinds import Kind, Outcome, black_fraction, outcomes_of, white_fraction
from dynlab.evaluation.linearization import AttractorCertificate, IndexSum, Linearization
from dynlab.evaluation.members import NAMED_STARTS, basin_numbers, typical_members
from dynlab.evaluation.planes import PlanePicture
from dynlab.evaluation.recognizer import Judgement, RecognizerReport
from dynlab.evaluation.results import SCHEMA_VERSION, Attractor, DataIdentity, MapIdentity, Results, TransformedSet
from dynlab.evaluation.robustness_results import AttractorEscape, NoiseSource, Robustness, SampleEscape, Shock
from dynlab.evaluation.separability import Accuracy, OrbitAccuracy, Separability

MakeAnalysis = Callable[..., Analysis]

FILM_STEPS = (0, 1, 25, -1)


@pytest.fixture(scope="session")
def make_analysis() -> MakeAnalysis:
    """The function that makes up an analysis; see `_make`."""
    return _make


@pytest.fixture(scope="session")
def with_graph() -> MakeAnalysis:
    """The function that makes up a connection graph for an analysis; see `_with_graph`."""
    return _with_graph


@pytest.fixture(scope="session")
def with_basins() -> MakeAnalysis:
    """The function that makes up starts of the samples of an analysis, and pictures of planes; see `_with_basins`."""
    return _with_basins


@pytest.fixture(scope="session")
def with_robustness() -> MakeAnalysis:
    """The function that makes up shocks and escapes for an analysis; see `_with_robustness`."""
    return _with_robustness


@pytest.fixture(scope="session")
def record() -> Callable[[Analysis, torch.Tensor, torch.Tensor], Analysis]:
    """The function that puts other step lengths into an analysis; see `_record`."""
    return _record


@pytest.fixture(scope="session")
def levels() -> list[Analysis]:
    """Four analyses whose number of attractors falls with the corruption level."""
    return [
        _make(sigma=0.15, attractors=150, seed=1),
        _make(sigma=0.2, attractors=60, seed=2),
        _make(sigma=0.25, attractors=25, seed=3, unresolved=0),
        _make(sigma=0.3, attractors=9, seed=4),
    ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; without one the test is skipped, or fails where `CI` is set."""
    executable = os.environ.get("DYNLAB_BROWSER") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if executable is None:
        _unavailable("no browser: install chromium, or set DYNLAB_BROWSER to one")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("no playwright: install the test dependencies, `pip install --group tests`")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def decode_png() -> Callable[[bytes], NDArray[np.uint8]]:
    """A decoder of PNG files, written from the standard."""
    return _decode_png


def _decode_png(data: bytes) -> NDArray[np.uint8]:
    """Decode an 8-bit picture whose rows have no filter, checking all checksums."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        assert checksum == zlib.crc32(name + content)
        chunks.append((name, content))
        place += 12 + length
    chunks = [chunk for chunk in chunks if chunk[0] != b"iTXt"]
    assert [name for name, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()
    pixels = rows[:, 1:]
    return pixels if channels == 1 else pixels.reshape(height, width, 3)


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _with_graph(analysis: Analysis, edges: list[tuple[int, int]], unsampled: int = 1) -> Analysis:
    """The analysis with a graph made up for it, that has these edges, and so many attractors that no sample reaches."""
    attractors = analysis.results.attractors
    states = [*analysis.arrays.fixed_points, *torch.rand(unsampled, analysis.results.map.dim).double()]
    saddle = Saddle(
        torch.zeros(analysis.results.map.dim).double(),
        0.0,
        torch.tensor([1.2 + 0j, 1.1 + 0j], dtype=torch.complex128),
        (-1, -1),
    )
    graph = nx.MultiGraph(
        map_sha256=analysis.results.map.sha256,
        tracked=[Tracked(0, 1, Track.SADDLE), Tracked(0, 2, Track.BETWEEN), Tracked(1, 2, Track.UNRESOLVED)],
        other_saddles=[saddle],
        index_sum=1,
        index_undecided=0,
    )
    for node, state in enumerate(states):
        is_known = node < len(attractors)
        graph.add_node(
            node,
            state=state,
            basin_size=attractors[node].basin_size if is_known else 0,
            basin_fraction=attractors[node].basin_fraction if is_known else 0.0,
            spectral_radius=0.9,
        )
    for number, (source, target) in enumerate(edges):
        graph.add_edge(
            source,
            target,
            kind="saddle",
            saddle=number,
            state=(states[source] + states[target]) / 2,
            unstable_multiplier=1.25,
            residual=0.0,
            distance_to_source=1.0,
            distance_to_target=2.0,
        )
    name_nodes(graph, [(attractor.kind, attractor.label) for attractor in attractors])
    results = replace(analysis.results, connections=connections_of(graph, len(attractors)))
    return replace(analysis, results=results, graph=graph)


def _with_robustness(
    analysis: Analysis, counts: torch.Tensor, shocked: int = 3, shocked_samples: int = 2, draws: int = 20
) -> Analysis:
    """The analysis with shocks made up, the first two proved, and with these counts of escapes, as in `EscapeGraph`.

    Each shock is 0.5 long; it leads to the next attractor, that of the last shocked one to one without samples.
    """
    results, points = analysis.results, analysis.arrays.fixed_points
    dim, attractors = results.map.dim, len(points)
    bounds = [LowerBound.PROVED, LowerBound.PROVED, LowerBound.ESTIMATED]
    shocks = [
        Shock(
            start=row,
            attractor=row,
            lower=0.05,
            lower_bound=bounds[min(row, 2)],
            upper=0.5,
            reached=row + 1 if row < shocked - 1 else attractors,
            straight=0.75,
            nearest=2.0 if attractors > 1 else None,
        )
        for row in range(shocked)
    ]
    samples = [
        Shock(row, 0, 0.0, LowerBound.NONE, 0.25, min(1, attractors - 1), 0.3, 2.0) for row in range(shocked_samples)
    ]
    starts = torch.cat([points[:shocked], torch.rand(shocked_samples, dim).double()])
    change = torch.zeros(len(starts), dim, dtype=torch.float64)
    change[:, 0] = torch.tensor([0.5] * shocked + [0.25] * shocked_samples)
    graph = EscapeGraph(results.map.sha256, 0.7, draws, 0, counts, markov_chain(counts[:, :-2].double())).to_networkx()
    found = Robustness(
        attractor_shocks=shocks,
        sample_shocks=samples,
        noise=0.7,
        noise_source=NoiseSource.TRAINING,
        draws=draws,
        attractor_escapes=[AttractorEscape(node, **graph.nodes[node]) for node in graph],
        sample_escapes=[SampleEscape(row, 0.25 * (1 + row), 0.1, 0.9, 0.0) for row in range(shocked_samples)],
    )
    return replace(
        analysis,
        results=replace(results, robustness=found),
        arrays=replace(
            analysis.arrays,
            shock_starts=starts,
            shock_ends=starts + change,
            shock_others=torch.rand(1, dim).double(),
        ),
        escapes=graph,
    )


def _with_basins(analysis: Analysis, planes: int = 1, side: int = 20, others: int = 1) -> Analysis:
    """The analysis with planes whose basins are made up.

    Each begins at an attractor of its own; all its states reach one of twelve attractors, or none. The last ones of all
    are those that no sample reaches.
    """
    generator = torch.Generator().manual_seed(0)
    results, arrays = analysis.results, analysis.arrays
    dim, attractors = results.map.dim, len(results.attractors)
    spanned = [arrays.fixed_points[row + 1 : row + 3] - arrays.fixed_points[row] for row in range(planes)]
    directions = [torch.linalg.qr(ways.T).Q.T for ways in spanned]
    reach = max((float(torch.linalg.vector_norm(ways, dim=1).max()) for ways in spanned), default=1.0)
    axes = torch.linspace(-1.5 * reach, 1.5 * reach, side, dtype=torch.float64)
    reached = torch.randint(0, 12, (planes, side, side), generator=generator)
    labels = torch.where(reached == 11, attractors + others - 1, reached.clamp(max=attractors + others - 1))
    labels[:, 0, :3] = -1
    pictures = [
        PlanePicture((row, row + 1, row + 2), 12, others, 3, basin_entropy_of(labels[row]), 9) for row in range(planes)
    ]
    return replace(
        analysis,
        results=replace(results, planes=pictures),
        arrays=replace(
            arrays,
            plane_directions=torch.stack(directions) if directions else torch.zeros(0, 2, dim, dtype=torch.float64),
            plane_axes=axes.repeat(planes, 2, 1),
            plane_labels=labels,
            plane_others=torch.rand(others, dim, generator=generator).double(),
            plane_cycles=torch.full_like(labels, -1),
            plane_diverged=torch.zeros_like(labels, dtype=torch.bool),
        ),
    )


def _make(
    *,
    sigma: float | None = 0.2,
    attractors: int = 12,
    samples: int = 400,
    unresolved: int = 3,
    explosions: int = 1,
    labelled: bool = True,
    separability: bool = True,
    recognizer: bool = True,
    state_shape: tuple[int, ...] = (8, 8),
    name: str = "dae",
    data: str = "digits/test",
    title: str = "Denoising autoencoder",
    seed: int = 0,
) -> Analysis:
    """Make up an analysis.

    The attractors are digits, blends of digits and haze; samples fall to them at random, with basins of unequal size.
    """
    rng = np.random.default_rng(seed)
    images, classes = _images(rng, samples, state_shape)
    kinds = _kinds(rng, attractors, explosions, labelled)
    fixed_points, attractor_classes = _fixed_points(rng, kinds, images, classes)
    weights = rng.pareto(1.2, attractors) + 0.3
    labels = rng.choice(attractors, samples, p=weights / weights.sum()) if attractors else np.full(samples, -1)
    if attractors:
        labels[:attractors] = np.arange(attractors)  # each is reached at least once
        alike = [np.flatnonzero(np.array([c == own for c in attractor_classes])) for own in classes]
        for sample in range(attractors, samples):
            if len(alike[sample]) and rng.random() < 0.75:
                labels[sample] = alike[sample][rng.integers(len(alike[sample]))]
        labels[samples - unresolved :] = -1
    order = np.argsort(-np.bincount(labels[labels >= 0], minlength=attractors), kind="stable")
    rank = np.empty(attractors, dtype=np.int64)
    rank[order] = np.arange(attractors)
    labels = np.where(labels >= 0, rank[labels] if attractors else -1, -1)
    fixed_points = fixed_points[order]
    kinds = [kinds[index] for index in order]
    attractor_classes = [attractor_classes[index] for index in order]
    sizes = np.bincount(labels[labels >= 0], minlength=attractors)
    step_lengths, steps = _orbits(rng, labels)
    radii = rng.uniform(0.85, 0.99, attractors)
    basins = Basins(
        f"{seed:064x}",
        fixed_points,
        torch.full((attractors,), 1e-14, dtype=torch.float64),
        _multipliers(rng, radii.tolist()),
        torch.from_numpy(labels),
        torch.arange(samples),
    )
    known = torch.from_numpy(classes) if labelled else None
    starts = torch.rand(samples, images.shape[1], generator=torch.Generator().manual_seed(seed))
    statistics = basin_statistics(basins, starts, torch.from_numpy(steps), known, NAMED_STARTS)
    member_samples, member_states = typical_members(statistics, starts)
    found = [
        Attractor(
            id=index,
            kind=kinds[index],
            label=attractor_classes[index] if kinds[index] == Kind.PROTOTYPE else None,
            basin_size=int(sizes[index]),
            basin_fraction=float(sizes[index] / samples),
            max_intensity=float(fixed_points[index].max()),
            black_fraction=float(black_fraction(fixed_points[index : index + 1])),
            white_fraction=float(white_fraction(fixed_points[index : index + 1])),
            spectral_radius=float(radii[index]),
            residual=1e-14,
            recognized_as=int(rng.integers(10)) if labelled else None,
            recognizer_score=float(rng.random()) if labelled else None,
            **basin_numbers(statistics, index),
        )
        for index in range(attractors)
    ]
    outcomes = outcomes_of(torch.from_numpy(labels), known, kinds, attractor_classes)
    recorded = rng.choice(samples, min(30, samples), replace=False)
    rates = rates_of_step_lengths(torch.from_numpy(step_lengths[:, recorded]))
    films = _film_samples(outcomes)
    explosive = outcomes.count(Outcome.EXPLOSION)
    dim = images.shape[1]
    identity = DataIdentity(data, "d" * 64, samples, labelled)
    train_data = DataIdentity("digits/train", "e" * 64, 1000, True) if labelled else None
    results = Results(
        schema_version=SCHEMA_VERSION,
        title=title,
        map=MapIdentity(
            name=name,
            kind="denoising autoencoder",
            sha256=f"{seed:064x}",
            dim=dim,
            state_shape=state_shape,
            description="sigmoid",
            training={} if sigma is None else {"sigma": sigma, "walkback": 3, "epochs": 400},
        ),
        data=identity,
        train_data=train_data,
        recognizer_data=train_data,
        settings={"tolerance": 1e-4, "max_steps": 20000},
        seeds={"recognizer": 0},
        versions={"dynlab": "0.1.0", "torch": "2.13.0"},
        attractors=found,
        statuses={"converged": samples - int((labels < 0).sum()), "unresolved": int((labels < 0).sum())},
        outcomes={outcome.value: outcomes.count(outcome) for outcome in Outcome},
        rates=_rate_summary(rates, labels[recorded]),
        linearizations=[_linearization(rng, index) for index in range(min(attractors, 8))],
        certificates=[_certificate(index) for index in range(min(attractors, 4))],
        index_sum=IndexSum(attractors, attractors, 1, abs(1 - attractors)),
        energy=EnergySummary(False, 20, 300, 0.234, 0.95, 0.071),
        transformed=TransformedSet(samples, 212, True, explosive, 0.51, 0.063),
        transformed_train=TransformedSet(1000, 230, True, 3 * explosive, 0.5, 0.06) if separability else None,
        recognizer=_recognizer() if recognizer and labelled else None,
        separability=_separability(rng, samples) if separability and labelled else None,
        diversity=basin_diversity(sizes.tolist()),
        cycles=[],
        planes=[],
        restless=None,
        pictured=None,
        connections=None,
        robustness=None,
    )
    no_plane = torch.zeros(0, 1, 1, dtype=torch.int64)
    arrays = Arrays(
        fixed_points=fixed_points,
        multipliers=basins.multipliers,
        labels=torch.from_numpy(labels),
        outcomes=outcome_codes(outcomes),
        classes=torch.from_numpy(classes if labelled else np.full(samples, -1)),
        steps=torch.from_numpy(steps),
        recorded_samples=torch.from_numpy(recorded),
        step_lengths=torch.from_numpy(step_lengths[:, recorded]),
        **_rate_arrays(rates),
        film_samples=torch.tensor(films, dtype=torch.int64),
        film_steps=torch.tensor(FILM_STEPS),
        film_states=_films(images, fixed_points, labels, films),
        member_samples=member_samples,
        member_states=member_states,
        plane_directions=torch.zeros(0, 2, dim, dtype=torch.float64),
        plane_axes=torch.zeros(0, 2, 1, dtype=torch.float64),
        plane_labels=no_plane,
        plane_others=torch.zeros(0, dim, dtype=torch.float64),
        plane_cycles=no_plane,
        plane_diverged=no_plane.bool(),
        restless_states=torch.zeros(0, 1, dim, dtype=torch.float64),
        **cycle_arrays((), torch.full((samples,), -1), dim),
    )
    return Analysis(results, arrays)


def _images(
    rng: np.random.Generator, samples: int, state_shape: tuple[int, ...]
) -> tuple[torch.Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    if state_shape == (8, 8):
        digits = load_dataset("digits")
        assert digits.labels is not None
        chosen = rng.choice(len(digits.images), samples, replace=False)
        return digits.images[chosen], digits.labels[chosen].numpy()
    dim = int(np.prod(state_shape))
    return torch.from_numpy(rng.random((samples, dim), dtype=np.float32)), rng.integers(0, 10, samples)


def _kinds(rng: np.random.Generator, attractors: int, explosions: int, labelled: bool) -> list[Kind]:
    if not labelled:
        return [Kind.UNKNOWN] * attractors
    kinds = [Kind.STAIN if rng.random() < 0.3 else Kind.PROTOTYPE for _ in range(attractors)]
    return [Kind.EXPLOSION] * min(explosions, attractors) + kinds[explosions:]


def _fixed_points(
    rng: np.random.Generator, kinds: list[Kind], images: torch.Tensor, classes: np.ndarray
) -> tuple[torch.Tensor, list[int | None]]:
    states, labels = torch.zeros((len(kinds), images.shape[1]), dtype=torch.float64), []
    for row, kind in enumerate(kinds):
        first, second = rng.integers(len(images), size=2)
        label = int(classes[first])
        match kind:
            case Kind.PROTOTYPE | Kind.UNKNOWN:
                states[row] = images[first].double().sqrt().clamp(0.02, 0.98)
            case Kind.STAIN:
                states[row] = torch.maximum(images[first], images[second].flip(0)).double().clamp(0.02, 0.98)
            case Kind.EXPLOSION:
                states[row] = 0.149 * images.double().mean(dim=0)
        labels.append(label if kind == Kind.PROTOTYPE else None)
    return states, labels


def _orbits(rng: np.random.Generator, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step lengths that fall exponentially after a while, NaN once below 1e-6, and the steps to 1e-4."""
    samples = len(labels)
    rates, starts = rng.uniform(0.9, 0.97, samples), rng.uniform(0, 60, samples)
    time = np.arange(1, 501)[:, None]
    lengths = 2 / time**0.7 * np.where(time > starts, rates ** (time - starts), 1.0)
    below = (lengths < 1e-4).argmax(axis=0)
    steps = np.where(labels >= 0, below + 1, -1)
    lengths[lengths < 1e-6] = np.nan
    return lengths.astype(np.float32), steps


def _record(analysis: Analysis, samples: torch.Tensor, step_lengths: torch.Tensor) -> Analysis:
    """The analysis with these step lengths of these samples recorded, and what follows from them."""
    rates = rates_of_step_lengths(step_lengths)
    labels = analysis.arrays.labels[samples].numpy()
    return Analysis(
        replace(analysis.results, rates=_rate_summary(rates, labels)),
        replace(analysis.arrays, recorded_samples=samples, step_lengths=step_lengths, **_rate_arrays(rates)),
    )


def _rate_summary(rates: ConvergenceRates, labels: np.ndarray) -> RateSummary:
    compared = int((np.isfinite(rates.rate.numpy()) & (labels >= 0)).sum())
    transients = rates.transient.numpy()[rates.transient.numpy() >= 0]
    return RateSummary(
        recorded=len(labels),
        decays={decay.value: list(rates.decay).count(decay) for decay in Decay},
        compared=compared,
        median_difference=0.0123 if compared else None,
        median_transient=float(np.median(transients)) if len(transients) else None,
    )


def _rate_arrays(rates: ConvergenceRates) -> dict[str, torch.Tensor]:
    return {
        "rates": rates.rate,
        "rate_sensitivities": rates.sensitivity,
        "rate_deviations": rates.deviation,
        "rate_windows": torch.stack([rates.first, rates.last], dim=1),
        "rate_transients": rates.transient,
        "rate_decays": decay_codes(rates),
    }


def _multipliers(rng: np.random.Generator, radii: list[float]) -> torch.Tensor:
    """Four by falling modulus, the last of them in every third row half of a pair whose other half is the fifth."""
    moduli = torch.tensor(radii, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.9, 0.8, 0.7, 0.7])
    angles = torch.zeros(len(radii), 5, dtype=torch.float64)
    angles[::3, 3] = torch.from_numpy(rng.uniform(0.1, 1, len(angles[::3])))
    angles[::3, 4] = -angles[::3, 3]
    moduli[angles[:, 4] == 0, 4] = torch.nan
    return torch.polar(moduli, angles)


def _linearization(rng: np.random.Generator, attractor: int) -> Linearization:
    norm = float(rng.uniform(0.95, 1.3))
    return Linearization(
        attractor=attractor,
        jacobian_norm=norm,
        largest_amplification=max(1.0, norm),
        amplification_steps=int(norm > 1),
        amplification_is_settled=True,
        departure_from_normality=float(rng.uniform(1, 2)),
        near_unity=(0, int(rng.integers(2)), 3),
        antisymmetric_share=float(rng.uniform(0.2, 0.4)),
    )


def _certificate(attractor: int) -> AttractorCertificate:
    """Of all kinds: shown, with stability not shown, and failed."""
    if attractor == 1:
        return AttractorCertificate(
            1, CertificateStatus.FAILED, "a bound is 2, expected <1", None, 0.0, 0, False, None, 0.0, None
        )
    status = CertificateStatus.PROVED if attractor == 2 else CertificateStatus.ESTIMATED
    if attractor == 3:
        reason = "||S||_P within 0.1 is 1.2, expected below 1"
        return AttractorCertificate(3, status, reason, 2.44e-14, 0.0125, 1, False, None, 0.0, None)
    return AttractorCertificate(attractor, status, "", 1.21e-13, 0.0456, 1, True, 0.96781, 0.0129, 12.0)


def _film_samples(outcomes: list[Outcome]) -> list[int]:
    return [
        sample
        for outcome in Outcome
        for sample in [index for index, found in enumerate(outcomes) if found == outcome][:4]
    ]


def _films(images: torch.Tensor, fixed_points: torch.Tensor, labels: np.ndarray, films: list[int]) -> torch.Tensor:
    shown = torch.zeros((len(films), len(FILM_STEPS), images.shape[1]))
    for row, sample in enumerate(films):
        start = images[sample]
        end = fixed_points[labels[sample]].float() if labels[sample] >= 0 else start
        for frame, weight in enumerate((0.0, 0.3, 0.8, 1.0)):
            shown[row, frame] = (1 - weight) * start + weight * end
    return shown


def _recognizer() -> RecognizerReport:
    return RecognizerReport(
        method="Distance to the nearest training images of each class, calibrated.",
        train_samples=1000,
        threshold=0.42,
        threshold_set_on=["held-out digits"],
        balanced_accuracy=0.931,
        class_accuracy=0.972,
        confusion=[
            Judgement("digits", stains=False, judged=400, called_member=380, called_stain=20),
            Judgement("blobs", stains=True, judged=200, called_member=2, called_stain=198),
            Judgement("overlaid digits", stains=True, judged=200, called_member=31, called_stain=169),
        ],
    )


def _separability(rng: np.random.Generator, samples: int) -> Separability:
    best = rng.uniform(0.94, 0.97)
    steps = [0, *(2**power for power in range(9))]
    tests = [best - 0.006 * abs(row - 3) - 0.01 * (row == 0) for row in range(len(steps))]
    return Separability(
        solver="lbfgs",
        max_iterations=300,
        train_samples=1000,
        test_samples=samples,
        raw=Accuracy(1.0, tests[0], True),
        transformed=Accuracy(0.98, tests[-1], False),
        basins=Accuracy(0.93, tests[-1] - 0.03, False),
        basins_train_samples=1000,
        along_orbit_train_samples=1000,
        along_orbit=[
            OrbitAccuracy(step, min(1.0, test + 0.03), test, step != 4) for step, test in zip(steps, tests, strict=True)
        ],
    )
