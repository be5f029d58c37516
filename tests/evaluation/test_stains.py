"""Stains: what each kind does to an image, and that fitting and judging share none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.evaluation.recognizer.stains import (
    FITTING_SHARES,
    JUDGED_KINDS,
    MIRRORED,
    ROW_FITTING_SHARES,
    ROW_JUDGED_KINDS,
    fitting_stains,
    judged_stains,
    of_another_class,
    symmetric_classes,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(data: Dataset, count: int = 200) -> tuple[Tensor, Tensor]:
    assert data.labels is not None
    return data.images[:count].view(-1, *data.shape), data.labels[:count]


def _pair(data: Dataset) -> tuple[Tensor, Tensor]:
    images, classes = _images(data)
    return images, images[of_another_class(classes, _generator())]


def test_fitting_and_judging_share_no_kind() -> None:
    assert not set(JUDGED_KINDS.values()) & (set(FITTING_SHARES) | set(ROW_FITTING_SHARES))


def test_another_class_is_drawn_evenly_from_all_samples_of_other_classes() -> None:
    classes = torch.tensor([7, 3, 3, 9, 3, 7]).repeat(500)
    drawn = of_another_class(classes, _generator())
    assert (classes[drawn] != classes).all()
    # Of the 3 positions that a sample of class 3 may get in a period of 6, each is drawn a third of the time.
    places = (drawn[classes == 3] % 6).bincount(minlength=6)
    expected = torch.tensor([500, 0, 0, 500, 0, 500])
    assert (places - expected).abs().max() < 5 * 500**0.5


@pytest.mark.parametrize("shape", [(8, 8), (6, 9), (15, 10), (1, 40)])
def test_all_stains_are_images_and_come_from_the_generator_alone(shape: tuple[int, int]) -> None:
    images = torch.rand(30, *shape, generator=_generator(5)) ** 4
    classes = torch.arange(30) % 3
    state = torch.random.get_rng_state()
    first, again, other = (
        [fitting_stains(images, classes, _generator(seed)), *judged_stains(images, classes, _generator(seed)).values()]
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    for stains, same, different in zip(first, again, other, strict=True):
        assert torch.equal(stains, same)
        assert stains.shape[1:] == shape
        assert torch.isfinite(stains).all()
        assert stains.min() >= 0
        assert stains.max() <= 1 + 1e-6
        assert not torch.equal(stains, different) or torch.equal(stains, images.flip(2))


def test_rows_have_only_kinds_without_geometry() -> None:
    rows = torch.rand(20, 1, 40, generator=_generator())
    assert judged_stains(rows, torch.arange(20) % 2, _generator()).keys() == ROW_JUDGED_KINDS


def test_shuffled_pixels_keep_every_value(digits_train: Dataset) -> None:
    images, others = _pair(digits_train)
    shuffled = JUDGED_KINDS["shuffled pixels"](images, others, _generator())
    assert torch.equal(shuffled.flatten(1).sort(dim=1).values, images.flatten(1).sort(dim=1).values)
    assert ((shuffled - images).flatten(1).norm(dim=1) > 1).all()


def test_overlays_hold_the_ink_of_both(digits_train: Dataset) -> None:
    images, others = _pair(digits_train)
    overlays = JUDGED_KINDS["overlays"](images, others, _generator())
    assert torch.equal(overlays, torch.where(images > others, images, others))


def test_interpolations_lie_near_the_middle_between_two_images(digits_train: Dataset) -> None:
    images, others = (values.double() for values in _pair(digits_train))
    between = JUDGED_KINDS["interpolations"](*_pair(digits_train), _generator()).double()
    along = others - images
    share = ((between - images) * along).sum(dim=(1, 2)) / (along * along).sum(dim=(1, 2))
    assert (share >= 0.4 - 1e-5).all()
    assert (share <= 0.6 + 1e-5).all()
    assert (between - (images + share[:, None, None] * along)).abs().max() < 1e-6


def test_cut_images_have_lost_about_half_of_their_ink(digits_train: Dataset) -> None:
    images, others = _pair(digits_train)
    cut = JUDGED_KINDS["cut"](images, others, _generator())
    assert ((cut == images) | (cut == 0)).all()
    left = cut.sum(dim=(1, 2)) / images.sum(dim=(1, 2))
    assert left.mean().item() == pytest.approx(0.5, abs=0.05)
    assert left.max() < 0.9
    assert left.min() > 0.1


def test_mirror_images_leave_symmetric_classes_out(digits_train: Dataset) -> None:
    images, classes = _images(digits_train)
    stains = judged_stains(images, classes, _generator(), symmetric_classes=frozenset({0, 8}))
    kept = (classes != 0) & (classes != 8)
    assert torch.equal(stains[MIRRORED], images[kept].flip(2))
    assert MIRRORED not in judged_stains(images, classes, _generator(), symmetric_classes=frozenset(range(10)))


def test_symmetric_classes_are_those_whose_mirror_images_are_their_own() -> None:
    both_sides, left_side = torch.zeros(8, 8), torch.zeros(8, 8)
    both_sides[1:7, 1:3] = both_sides[1:7, 5:7] = left_side[1:7, 1:3] = 1
    images = torch.cat([both_sides.expand(20, 8, 8), left_side.expand(20, 8, 8)])
    images = (images + 0.1 * torch.rand(images.shape, generator=_generator())).clamp(max=1)
    classes = torch.tensor([11] * 20 + [42] * 20)
    assert symmetric_classes(images, classes) == {11}


def test_an_image_and_its_own_mirror_image_do_not_count_as_neighbours() -> None:
    # Each is its own mirror image, and nearer to the other class than to the rest of its own.
    images = torch.zeros(4, 6, 6)
    for row, (image, value) in enumerate(zip(images, (0.1, 0.5, 0.15, 0.55), strict=True)):
        image[row // 2, 2:4] = value
        image[4] = value
    assert symmetric_classes(images, torch.tensor([0, 0, 1, 1])) == frozenset()


def test_zeros_are_symmetric_and_threes_are_not(digits_train: Dataset) -> None:
    assert digits_train.labels is not None
    found = symmetric_classes(digits_train.images.view(-1, 8, 8), digits_train.labels)
    assert {0, 8} <= found
    assert not {2, 3, 5, 6, 7} & found


def _fitting(name: str, data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    images, others = _pair(data)
    maker = next(maker for maker in FITTING_SHARES if getattr(maker, "__name__", "") == name)
    return images, others, maker(images, others, _generator())


def test_quarter_turns_go_left_or_right(digits_train: Dataset) -> None:
    images, _, turned = _fitting("_quarter_turns", digits_train)
    left = (turned == torch.rot90(images, 1, (1, 2))).all(dim=(1, 2))
    right = (turned == torch.rot90(images, -1, (1, 2))).all(dim=(1, 2))
    assert (left | right).all()
    assert 0.3 < left.double().mean() < 0.7


def test_mosaics_take_each_pixel_from_one_of_two(digits_train: Dataset) -> None:
    images, others, mosaics = _fitting("_mosaics", digits_train)
    assert ((mosaics == images) | (mosaics == others)).all()
    assert ((mosaics != images).any(dim=(1, 2)) & (mosaics != others).any(dim=(1, 2))).all()


def test_exchanged_quarters_keep_every_value_and_move_some(digits_train: Dataset) -> None:
    images, _, exchanged = _fitting("_exchanged_quarters", digits_train)
    assert torch.equal(exchanged.flatten(1).sort(dim=1).values, images.flatten(1).sort(dim=1).values)
    assert (exchanged != images).any(dim=(1, 2)).all()


def test_strokes_over_an_image_only_add_ink(digits_train: Dataset) -> None:
    images, _, drawn = _fitting("_overdrawn", digits_train)
    assert (drawn >= images).all()
    assert ((drawn > images).any(dim=(1, 2))).double().mean() > 0.9
