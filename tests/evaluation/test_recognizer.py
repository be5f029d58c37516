"""The recognizer: its word on held-out digits and on stains of kinds it was not made with."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset, load_dataset
from dynlab.errors import InputError
from dynlab.evaluation.recognizer import Recognizer, RecognizerReport, train_recognizer
from dynlab.evaluation.recognizer import recognizer as module
from dynlab.evaluation.recognizer.looks import nearest_of_class
from dynlab.evaluation.recognizer.stains import JUDGED_KINDS, ROW_JUDGED_KINDS, judged_stains, symmetric_classes


@lru_cache
def _digits_recognizer(device: str) -> Recognizer:
    data = load_dataset("digits/train")
    assert data.labels is not None
    return train_recognizer(data.images, data.labels, state_shape=data.shape, device=torch.device(device))


@pytest.fixture
def recognizer(device: torch.device) -> Recognizer:
    return _digits_recognizer(str(device))


def _bars(samples: int, shape: tuple[int, int], classes: tuple[int, ...] = (3, 70)) -> tuple[Tensor, Tensor]:
    """Images of a bar that lies in the first class and stands in the second; easy to learn, quick to train on."""
    generator = torch.Generator().manual_seed(1)
    images = 0.1 * torch.rand(samples, *shape, generator=generator)
    chosen = torch.arange(samples) % 2
    middle = (shape[0] // 2, shape[1] // 2)
    images[chosen == 0, middle[0] - 1 : middle[0] + 1, 1:-1] += 0.8
    images[chosen == 1, 1:-1, middle[1] - 1 : middle[1] + 1] += 0.8
    return images.flatten(1), torch.tensor(classes)[chosen]


def _balanced_accuracy(report: RecognizerReport) -> float:
    members = [row for row in report.confusion if not row.stains]
    stains = [row for row in report.confusion if row.stains]
    member_rate = sum(row.called_member for row in members) / sum(row.judged for row in members)
    return 0.5 * (member_rate + sum(row.called_stain / row.judged for row in stains) / len(stains))


def test_digits_are_told_from_unknown_kinds_of_stains(recognizer: Recognizer, digits_test: Dataset) -> None:
    # 797 digits that no part of the training saw, and stains made of them.
    assert digits_test.labels is not None
    found = recognizer.recognize(digits_test.images)
    member_rate = found.is_member.double().mean().item()
    assert member_rate > 0.88
    assert (found.classes == digits_test.labels).double().mean() > 0.95

    images = digits_test.images.view(-1, *digits_test.shape)
    symmetric = symmetric_classes(images, digits_test.labels)
    generator = torch.Generator().manual_seed(3)
    stains = judged_stains(images, digits_test.labels, generator, symmetric_classes=symmetric)
    rates = [(~recognizer.recognize(made.flatten(1)).is_member).double().mean().item() for made in stains.values()]
    assert stains.keys() == JUDGED_KINDS.keys()
    assert 0.5 * (member_rate + sum(rates) / len(rates)) > 0.88


def test_smooth_prototypes_are_members(recognizer: Recognizer, digits_test: Dataset) -> None:
    assert digits_test.labels is not None
    images = digits_test.images.view(-1, *digits_test.shape)
    neighbours = nearest_of_class(images, digits_test.labels)
    averages = torch.stack([images[row.unique()].mean(dim=0) for row in neighbours])
    found = recognizer.recognize(averages.flatten(1))
    assert found.is_member.double().mean() > 0.95
    assert (found.classes == digits_test.labels).double().mean() > 0.95


def test_the_report_counts_what_it_says(recognizer: Recognizer) -> None:
    report = recognizer.report
    assert report.balanced_accuracy == pytest.approx(_balanced_accuracy(report), abs=1e-12)
    assert report.threshold == recognizer.threshold
    assert report.train_samples == 700
    assert [row.images for row in report.confusion] == ["digits", *JUDGED_KINDS]
    assert not set(report.threshold_set_on) & set(JUDGED_KINDS)
    for row in report.confusion:
        assert row.called_member + row.called_stain == row.judged
    assert report.class_accuracy > 0.95


def test_a_word_does_not_depend_on_the_company(recognizer: Recognizer, digits_test: Dataset) -> None:
    states = digits_test.images[:300]
    together = recognizer.recognize(states)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    shuffled = recognizer.recognize(states[order].double())
    assert torch.equal(shuffled.classes, together.classes[order])
    assert torch.equal(shuffled.is_member, together.is_member[order])
    assert (shuffled.scores - together.scores[order]).abs().max() < 1e-10
    alone = [recognizer.recognize(states[row : row + 1]) for row in range(20)]
    assert (torch.cat([one.scores for one in alone]) - together.scores[:20]).abs().max() < 1e-10
    assert torch.equal(together.is_member, together.scores >= recognizer.threshold)
    assert len(recognizer.recognize(states[:0]).classes) == 0


def test_equal_seeds_give_equal_recognizers_and_leave_the_global_state_alone(device: torch.device) -> None:
    images, classes = _bars(60, (8, 8))
    state = torch.random.get_rng_state()
    first, again, other = (
        train_recognizer(images, classes, state_shape=(8, 8), seed=seed, device=device) for seed in (4, 4, 5)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    scores = first.recognize(images).scores
    if device.type == "cpu":
        assert torch.equal(scores, again.recognize(images).scores)
    else:
        assert (scores - again.recognize(images).scores).abs().max() < 0.1
    assert not torch.equal(scores, other.recognize(images).scores)


@pytest.mark.parametrize("shape", [(6, 7), (31, 40)])
def test_images_of_any_size_and_classes_of_any_name(shape: tuple[int, int]) -> None:
    images, classes = _bars(80, shape)
    progress: list[float] = []
    found = train_recognizer(images, classes, state_shape=shape, on_progress=progress.append).recognize(images)
    assert (found.classes == classes).double().mean() > 0.95
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1)])
def test_a_channel_axis_of_one_is_no_reason_to_forget_the_image(shape: tuple[int, ...]) -> None:
    images, classes = _bars(60, (8, 8))
    plain, with_channel = (
        train_recognizer(images, classes, state_shape=state_shape, seed=4) for state_shape in ((8, 8), shape)
    )
    assert with_channel.report == plain.report
    assert torch.equal(with_channel.recognize(images).scores, plain.recognize(images).scores)


def test_rows_of_numbers_are_judged_without_geometry() -> None:
    images, classes = _bars(80, (6, 7))
    recognizer = train_recognizer(images, classes, state_shape=(42,))
    assert (recognizer.recognize(images).classes == classes).double().mean() > 0.95
    assert {row.images for row in recognizer.report.confusion if row.stains} == ROW_JUDGED_KINDS


def test_few_samples_of_a_class_are_enough_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_OUT", 6)
    images, classes = _bars(200, (6, 6))
    rows = torch.cat([torch.nonzero(classes == 3)[:, 0], torch.nonzero(classes == 70)[:5, 0]])
    single = torch.tensor([12])
    recognizer = train_recognizer(
        torch.cat([images[rows], images[:1]]), torch.cat([classes[rows], single]), state_shape=(6, 6)
    )
    assert recognizer.known_classes.tolist() == [3, 12, 70]
    assert recognizer.report.confusion[0].judged == 6


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([7] * 20, "of 1 class, expected at least 2"),
        ([1] * 16 + [2] * 4, "16 and 4 samples, expected at least 5 in two"),
    ],
)
def test_too_little_to_learn_from(classes: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_recognizer(torch.zeros(20, 36), torch.tensor(classes), state_shape=(6, 6))


def test_arguments_that_do_not_fit_together(recognizer: Recognizer) -> None:
    with pytest.raises(ValueError, match=r"images has shape \(20, 36\), expected \(samples, 49\)"):
        train_recognizer(torch.zeros(20, 36), torch.zeros(20, dtype=torch.int64), state_shape=(7, 7))
    with pytest.raises(ValueError, match=r"states has shape \(2, 65\), expected \(batch, 64\)"):
        recognizer.recognize(torch.zeros(2, 65))


def test_on_mnist_the_balanced_accuracy_is_at_least_nine_tenths(
    device: torch.device, mnist_train: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mnist_train.labels is not None
    report = train_recognizer(
        mnist_train.images, mnist_train.labels, state_shape=mnist_train.shape, device=device
    ).report
    with capsys.disabled():
        print(f"\n{'images':<18}{'judged':>8}{'member':>8}{'stain':>8}")
        for row in report.confusion:
            print(f"{row.images:<18}{row.judged:>8}{row.called_member:>8}{row.called_stain:>8}")
        print(f"balanced accuracy {report.balanced_accuracy:.3f}, class accuracy {report.class_accuracy:.3f}")
    assert {row.images for row in report.confusion if row.stains} == set(JUDGED_KINDS)
    assert report.balanced_accuracy >= 0.9
    assert _balanced_accuracy(report) >= 0.9
    assert report.class_accuracy >= 0.95
