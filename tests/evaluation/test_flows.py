"""The flow matrix against counts by hand and a loop over samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.datasets import Dataset
from dynlab.evaluation.flows import flow_matrix, flow_of
from dynlab.evaluation.kinds import Kind, Outcome, outcomes_of
from dynlab.maps import DenoisingAutoencoder

KINDS = [Kind.PROTOTYPE, Kind.PROTOTYPE, Kind.STAIN, Kind.EXPLOSION, Kind.UNKNOWN]
CLASSES = [1, 7, None, None, None]


def test_by_hand() -> None:
    labels = torch.tensor([0, 1, 1, 2, 3, -1, 4, 0, -1, -1, -1])
    classes = torch.tensor([8, 8, 7, 8, 7, 8, 8, -1, -1, 8, 8])
    cycling, diverged = torch.arange(11) == 9, torch.arange(11) == 10
    known = [None if value < 0 else value for value in classes.tolist()]
    outcomes = [
        outcomes_of(
            labels[i : i + 1],
            None if value is None else torch.tensor([value]),
            KINDS,
            CLASSES,
            cycling=cycling[i : i + 1],
            diverged=diverged[i : i + 1],
        )[0]
        for i, value in enumerate(known)
    ]
    found = flow_matrix(classes, outcomes, labels, CLASSES)
    assert found.classes == (1, 7, 8)
    assert found.columns == ("1", "7", "8", "stain", "explosion", "unresolved", "unknown", "cycle", "diverged")
    assert found.counts.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 1, 1, 1, 1],
    ]
    assert found.without_class == 2
    assert bool(found.shares[0].isnan().all())
    assert found.shares[1].tolist() == [0.0, 0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(found.shares[2], torch.tensor([1, 1, 0, 1, 0, 1, 1, 1, 1]).double() / 7)


def test_against_a_loop_over_samples() -> None:
    rng = np.random.default_rng(0)
    kinds = [list(Kind)[code] for code in rng.integers(0, 4, 30)]
    attractor_classes = [int(rng.integers(0, 10)) if kind is Kind.PROTOTYPE else None for kind in kinds]
    labels, classes = torch.from_numpy(rng.integers(-1, 30, 2000)), torch.from_numpy(rng.integers(0, 10, 2000))
    found = flow_matrix(classes, outcomes_of(labels, classes, kinds, attractor_classes), labels, attractor_classes)
    expected = dict.fromkeys(((row, column) for row in range(10) for column in found.columns), 0)
    for label, true_class in zip(labels.tolist(), classes.tolist(), strict=True):
        reached = "unresolved" if label < 0 else str(kinds[label])
        expected[true_class, str(attractor_classes[label]) if reached == "prototype" else reached] += 1
    assert found.counts.flatten().tolist() == list(expected.values())
    assert int(found.counts.sum()) == 2000
    torch.testing.assert_close(found.shares.sum(dim=1), torch.ones(10, dtype=torch.float64))


def test_without_classes_there_are_no_rows() -> None:
    found = flow_matrix(torch.tensor([-1, -1]), [Outcome.UNKNOWN, Outcome.STAIN], torch.tensor([0, 2]), CLASSES)
    assert found.classes == ()
    assert found.counts.shape == found.shares.shape == (0, 6)
    assert found.without_class == 2


def test_of_an_analysis(digits_dae: DenoisingAutoencoder, digits_train: Dataset, digits_test: Dataset) -> None:
    analysis = dl.analyse(digits_dae, digits_test, recognizer_data=digits_train)
    assert digits_test.labels is not None
    found = flow_of(analysis)
    outcomes = analysis.results.outcomes
    classes = len(found.classes)
    among = found.counts[:, :classes]
    assert found.without_class == 0
    assert found.counts.sum(dim=1).tolist() == torch.bincount(digits_test.labels).tolist()
    assert int(among.diagonal().sum()) == outcomes["kept"] > 0
    assert int(among.sum() - among.diagonal().sum()) == outcomes["changed"] > 0
    ends = dict(zip(found.columns[classes:], found.counts[:, classes:].sum(dim=0).tolist(), strict=True))
    assert ends == {name: outcomes[name] for name in outcomes if name not in ("kept", "changed")}


def test_contradictions_are_named() -> None:
    with pytest.raises(ValueError, match="classes, outcomes and labels are of 2, 1 and 2 samples"):
        flow_matrix(torch.tensor([1, 1]), [Outcome.KEPT], torch.tensor([0, 0]), CLASSES)
    for outcome, true_class, label in (
        (Outcome.KEPT, 7, 0),
        (Outcome.CHANGED, 1, 0),
        (Outcome.KEPT, -1, 0),
        (Outcome.KEPT, 1, 2),
        (Outcome.CHANGED, 1, -1),
    ):
        with pytest.raises(ValueError, match=f"sample 0 of class {true_class} is {outcome}"):
            flow_matrix(torch.tensor([true_class]), [outcome], torch.tensor([label]), CLASSES)
