"""Every kind of corruption against an independent computation, or a statistic with its confidence bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from dynlab.errors import InputError
from dynlab.training.corruption import Clean, Corruption, Gaussian, corrupt, parse_schedule, stack_corruptions
from dynlab.training.draws import Draws, MembersNoise, Noise

from other_device import emulated_device, host_waits

# Before any test takes a gradient: autograd counts the devices there are only once.
emulated_device()

CPU = torch.device("cpu")
IMAGES = (2, 6, 9)  # two channels
DIM = math.prod(IMAGES)
TEXTS = [
    "clean",
    "gaussian(0.4)",
    "salt-and-pepper(0.3)",
    "square(0.43)",
    "strokes(3, 0.2)",
    "occlusion(0.37)",
    "scaling(0.3)",
    "rotation(40)",
    "rotation(15) then scaling(0.2) then gaussian(0.1)",
    "0.5 gaussian(0.2) + 0.3 clean + 0.2 square(0.6) then salt-and-pepper(0.1)",
]
every_text = pytest.mark.parametrize("text", TEXTS)


@dataclass
class Given:
    """Draws that give the same numbers for every channel."""

    numbers: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.numbers.shape[:-1])

    def uniform(self, channel: int, count: int) -> Tensor:
        return self.numbers.expand(*self.shape, count)

    def normal(self, channel: int, count: int) -> Tensor:
        return self.uniform(channel, count)

    def part(self, index: int) -> Draws:
        return self


def _corruption(text: str, state_shape: tuple[int, ...] = IMAGES) -> Corruption:
    return parse_schedule(text, None, state_shape).at(1)


def _images(rows: int, dim: int = DIM) -> Tensor:
    return 0.1 + 0.8 * torch.rand(rows, dim, generator=torch.Generator().manual_seed(1))


def _draws(rows: int, first: int = 0, device: torch.device = CPU) -> Draws:
    return Noise(5, "corruption", device).at(first, rows)


# Every kind


@every_text
def test_rows_do_not_depend_on_their_minibatch_and_images_stay(text: str, device: torch.device) -> None:
    corruption, images = _corruption(text), _images(21).to(device)
    before, at_once = images.clone(), corruption(images, _draws(21, 30, device), IMAGES)
    by_sevens = [
        corruption(rows, _draws(7, 30 + 7 * index, device), IMAGES) for index, rows in enumerate(images.split(7))
    ]
    assert torch.cat(by_sevens).equal(at_once)
    assert at_once.dtype == torch.float32
    assert images.equal(before)
    if text != "clean":
        assert not at_once.equal(images)
        assert not corruption(images, _draws(21, 51, device), IMAGES).equal(at_once)


@every_text
def test_float64_images_stay_in_float64(text: str) -> None:
    corruption, images = _corruption(text), _images(20).double()
    found = corruption(images, _draws(20), IMAGES)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, corruption(images.float(), _draws(20), IMAGES).double(), rtol=1e-5, atol=1e-5)


@every_text
@pytest.mark.parametrize("own_images", [True, False])
def test_members_together_get_what_they_get_alone(text: str, own_images: bool, device: torch.device) -> None:
    # Levels that differ in the last digits, too: what a level is rounded to must be the same.
    factors, seeds = (1.0, 0.7, 1.0000001), (3, 4, 5)
    own = [_with_levels(text, factor) for factor in factors]
    (members, together), *others = stack_corruptions(own, device)
    assert (members, others) == ([0, 1, 2], [])
    images = _images(3 * 11).view(3, 11, DIM).to(device) if own_images else _images(11).to(device)
    noise = MembersNoise(seeds, "corruption", device)
    first = torch.tensor(40, device=device)
    found = together(images, noise.at(first, 11), IMAGES)
    assert found.shape == (3, 11, DIM)
    for member, seed in enumerate(seeds):
        alone = MembersNoise([seed], "corruption", device).at(first, 11)
        mine = images[member] if own_images else images
        assert found[member].equal(own[member](mine, alone, IMAGES)[0])


def _with_levels(text: str, factor: float) -> Corruption:
    """Other levels and weights for a text, but not for strokes, whose number and width are part of the structure."""
    words = [
        word if "strokes" in text else f"{float(word) * factor!r}" if _is_number(word) else word
        for word in text.replace("(", " ( ").replace(")", " ) ").split()
    ]
    return _corruption(" ".join(words))


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdigit()


def test_members_are_grouped_by_structure() -> None:
    texts = ["gaussian(1)", "strokes(1)", "clean", "strokes(2)", "gaussian(2)", "gaussian(1) then clean", "strokes(1)"]
    groups = stack_corruptions([_corruption(text) for text in texts], CPU)
    assert [members for members, _ in groups] == [[0, 4], [1, 6], [2], [3], [5]]


@every_text
def test_on_another_device_nothing_waits_and_the_numbers_are_the_same(text: str) -> None:
    other, images = emulated_device(), _images(9)
    (_, corruption), *_ = stack_corruptions([_corruption(text)] * 2, other)
    there, first = images.to(other), torch.tensor(40, device=other)
    noise = MembersNoise((5, 6), "corruption", other)
    host_waits.clear()
    found = [corruption(there, noise.at(first, 9), IMAGES), _corruption(text)(there, noise.at(first, 9), IMAGES)]
    assert not host_waits
    expected = _corruption(text)(images, _draws(9, 40), IMAGES)
    for corrupted in found:
        assert corrupted.shape == (2, 9, DIM)
        torch.testing.assert_close(corrupted[0].cpu(), expected, rtol=1e-5, atol=1e-5)


@every_text
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU")
def test_recorded_as_a_graph(text: str) -> None:
    cuda = torch.device("cuda")
    (_, corruption), *_ = stack_corruptions([_corruption(text)] * 2, cuda)
    images, noise, first = _images(9).to(cuda), MembersNoise((5, 6), "corruption", cuda), torch.tensor(0, device=cuda)
    corruption(images, noise.at(first, 9), IMAGES)  # what is loaded at first use is loaded now
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        corrupted = corruption(images, noise.at(first, 9), IMAGES)
    first.fill_(40)
    graph.replay()
    assert corrupted.equal(corruption(images, noise.at(first, 9), IMAGES))


@pytest.mark.parametrize("text", ["gaussian(0)", "salt-and-pepper(0)", "square(0)", "strokes(0)", "occlusion(0)"])
def test_level_0_leaves_images_as_they_are(text: str, device: torch.device) -> None:
    images = _images(30).to(device)
    assert _corruption(text)(images, _draws(30, device=device), IMAGES).equal(images)


# Pixels


def test_gaussian_noise(device: torch.device) -> None:
    sigma, images = 0.7, _images(400, 500).to(device)
    corrupted = Gaussian(sigma)(images, _draws(400, device=device), (500,))
    noise = (corrupted - images).double().flatten().cpu()
    # With 99.9% confidence: the mean is normal, and the sum of squares has a chi-squared distribution.
    count = len(noise)
    assert abs(noise.mean()) < stats.norm.isf(0.0005) * sigma / math.sqrt(count)
    low, high = stats.chi2.interval(0.999, count)
    assert low < noise.square().sum() / sigma**2 < high
    assert stats.kstest(noise.numpy() / sigma, "norm").pvalue > 0.001
    # Never clipped.
    assert corrupted.min() < -1.5
    assert corrupted.max() > 2.5


@pytest.mark.parametrize("level", [0.03, 0.5, 1.0])
def test_salt_and_pepper(level: float, device: torch.device) -> None:
    images = _images(400, 500).to(device)
    corrupted = _corruption(f"salt-and-pepper({level})")(images, _draws(400, device=device), (500,))
    salt, pepper = int((corrupted == 1).sum()), int((corrupted == 0).sum())
    assert corrupted[(corrupted != 0) & (corrupted != 1)].equal(images[(corrupted != 0) & (corrupted != 1)])
    low, high = stats.binom.interval(0.999, images.numel(), level)
    assert low <= salt + pepper <= high
    low, high = stats.binom.interval(0.999, salt + pepper, 0.5)
    assert low <= salt <= high


# Hiding


@pytest.mark.parametrize(("level", "side"), [(0.08, 0), (0.25, 2), (0.43, 3), (0.5, 3), (1.0, 6)])
def test_square(level: float, side: int, device: torch.device) -> None:
    rows, (channels, height, width) = 40, IMAGES
    images, draws = _images(rows).to(device), _draws(rows, device=device)
    expected = images.cpu().view(rows, *IMAGES).clone()
    for row, (down, right) in enumerate(draws.uniform(0, 2).tolist()):
        top, left = math.floor(down * (height - side + 1)), math.floor(right * (width - side + 1))
        for channel in range(channels):
            for y in range(top, top + side):
                for x in range(left, left + side):
                    expected[row, channel, y, x] = 0
    assert _corruption(f"square({level})")(images, draws, IMAGES).cpu().equal(expected.flatten(1))


def test_places_of_squares_are_all_as_likely() -> None:
    shape, side, rows = (5, 7), 2, 6000
    corrupted = _corruption("square(0.4)", shape)(torch.ones(rows, 35), _draws(rows), shape)
    first_hidden = corrupted.argmin(dim=1)  # the upper left corner
    counts = torch.bincount(first_hidden, minlength=35).view(shape)
    possible = counts[: 5 - side + 1, : 7 - side + 1]
    assert possible.sum() == rows
    assert stats.chisquare(possible.flatten().numpy()).pvalue > 0.001


@pytest.mark.parametrize("level", [0.1, 0.37, 0.5, 1.0])
def test_occlusion_hides_a_half_plane_of_exactly_its_share(level: float, device: torch.device) -> None:
    rows, (channels, height, width) = 50, IMAGES
    draws, images = _draws(rows, device=device), _images(rows).to(device)
    corrupted = _corruption(f"occlusion({level})")(images, draws, IMAGES).view(rows, channels, -1).cpu()
    hidden = corrupted == 0
    assert corrupted[~hidden].equal(images.view(rows, channels, -1).cpu()[~hidden])
    assert hidden[:, 0].equal(hidden[:, 1])
    assert (hidden[:, 0].sum(dim=1) == math.floor(level * height * width + 0.5)).all()
    y, x = np.divmod(np.arange(height * width), width)
    for mask, angle in zip(hidden[:, 0].numpy(), 2 * np.pi * draws.uniform(0, 1).cpu().double().numpy(), strict=True):
        along = x * np.cos(angle) + y * np.sin(angle)
        assert mask.all() or along[mask].max() < along[~mask].min() + 1e-5


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5])
def test_occlusion_hides_its_share_where_the_edge_meets_several_pixels(chance: float) -> None:
    draws = Given(torch.full((1, 1), chance))
    for count in range(55):
        corrupted = _corruption(f"occlusion({count / 54})")(torch.ones(1, DIM), draws, IMAGES)
        assert (corrupted == 0).sum() == 2 * count


# Strokes


@pytest.mark.parametrize("shape", [IMAGES, (28, 28)])
def test_strokes(shape: tuple[int, ...], device: torch.device) -> None:
    rows, strokes, pen = 30, 3, 0.2
    (*_, height, width), dim = shape, math.prod(shape)
    images, draws = _images(rows, dim).to(device), _draws(rows, device=device)
    found = _corruption(f"strokes({strokes}, {pen})", shape)(images, draws, shape)
    reach = pen * min(height, width) / 2
    y, x = np.divmod(np.arange(height * width), width)
    places = np.stack([y - (height - 1) / 2, x - (width - 1) / 2], axis=1)
    ink = np.zeros((rows, height * width))
    for stroke in range(strokes):
        ends = (draws.uniform(stroke, 4).cpu().double().numpy() - 0.5) * [height, width, height, width]
        for row, (start, end) in enumerate(ends.reshape(rows, 2, 2)):
            # Inside the half pixels at the pen's edge ink falls off from 1 to 0.
            away = _distances_to_segment(places, start, end) - reach
            ink[row] = np.maximum(ink[row], np.where(away < -0.5, 1, np.where(away > 0.5, 0, 0.5 - away)))
    assert 0.05 < ink.mean() < 0.7
    expected = np.maximum(images.cpu().double().view(rows, -1, height * width).numpy(), ink[:, None])
    torch.testing.assert_close(found.cpu().double(), torch.from_numpy(expected).flatten(1), rtol=0, atol=1e-5)


def _distances_to_segment(places: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    to_ends = np.minimum(*(np.linalg.norm(places - corner, axis=1) for corner in (start, end)))
    along, seen = end - start, places - start
    to_line = np.abs(along[0] * seen[:, 1] - along[1] * seen[:, 0]) / np.linalg.norm(along)
    beside = ((seen @ along) > 0) & (((places - end) @ along) < 0)
    return np.where(beside, to_line, to_ends)


def test_a_stroke_without_length_is_a_dot() -> None:
    # Both ends at the centre of 5 x 5 pixels; the pen reaches half a pixel far.
    corrupted = _corruption("strokes(1, 0.2)", (5, 5))(torch.zeros(1, 25), Given(torch.full((1, 1), 0.5)), (5, 5))
    expected = torch.zeros(25)
    expected[12] = 1
    torch.testing.assert_close(corrupted[0], expected, rtol=0, atol=1e-6)


# Moving


def _moved(images: Tensor, matrices: NDArray[Any], shape: tuple[int, int, int]) -> Tensor:
    """Images whose pixels are those of places that a matrix gives, about the centre, by scipy."""
    centre = (np.array(shape[1:]) - 1) / 2
    moved = np.empty((len(images), *shape))
    for row, matrix in enumerate(matrices):
        for channel, plane in enumerate(images[row].view(shape).double().numpy()):
            offset = centre - matrix @ centre
            moved[row, channel] = ndimage.affine_transform(plane, matrix, offset, order=1, mode="grid-constant")
    return torch.from_numpy(moved).flatten(1)


def _scaling_matrices(chance: NDArray[Any], level: float) -> NDArray[Any]:
    return np.eye(2) / ((1 + level) ** (2 * chance - 1))[:, None, None]


def _rotation_matrices(chance: NDArray[Any], level: float) -> NDArray[Any]:
    angles = np.deg2rad(level) * (2 * chance - 1)
    # Rows (down, right): a positive angle turns against the clock, with down pointing down.
    return np.array([[[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in angles])


@pytest.mark.parametrize("shape", [IMAGES, (1, 28, 28)])
@pytest.mark.parametrize(
    ("kind", "level", "matrices"),
    [
        ("scaling", 0.3, _scaling_matrices),
        ("scaling", 3.0, _scaling_matrices),
        ("rotation", 15.0, _rotation_matrices),
        ("rotation", 180.0, _rotation_matrices),
    ],
)
def test_moving_against_scipy(
    kind: str,
    level: float,
    matrices: Callable[[NDArray[Any], float], NDArray[Any]],
    shape: tuple[int, int, int],
    device: torch.device,
) -> None:
    images, draws = _images(30, math.prod(shape)).to(device), _draws(30, device=device)
    found = _corruption(f"{kind}({level})", shape)(images, draws, shape)
    expected = _moved(images.cpu(), matrices(draws.uniform(0, 1)[:, 0].cpu().double().numpy(), level), shape)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("chance", "turns"), [(0.5, 0), (0.75, 1), (0.25, -1), (0.0, 2)])
def test_rotation_by_right_angles(chance: float, turns: int) -> None:
    shape = (2, 7, 7)
    images, draws = _images(3, 98), Given(torch.full((3, 1), chance))
    found = _corruption("rotation(180)", shape)(images, draws, shape)
    expected = images.view(3, *shape).rot90(turns, dims=(2, 3)).flatten(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def test_scaling_by_two_against_pixels_by_hand() -> None:
    # The largest factor is 3: a pixel of 3 x 3 fills all of the image, and its neighbours are outside.
    images, draws = torch.zeros(1, 9), Given(torch.ones(1, 1))
    images[0, 4] = 1
    found = _corruption("scaling(2)", (3, 3))(images, draws, (3, 3)).view(3, 3)
    weights = torch.tensor([2 / 3, 1, 2 / 3])  # a third of a pixel away from it
    torch.testing.assert_close(found, weights[:, None] * weights, rtol=0, atol=1e-6)


# Combinations


def test_parts_of_a_sequence_follow_each_other_with_draws_of_their_own() -> None:
    images, draws = _images(20), _draws(20)
    expected = images
    for index, text in enumerate(["rotation(15)", "scaling(0.2)", "gaussian(0.1)"]):
        expected = _corruption(text)(expected, draws.part(index), IMAGES)
    assert _corruption("rotation(15) then scaling(0.2) then gaussian(0.1)")(images, draws, IMAGES).equal(expected)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0.8 gaussian(1) + 0.2 clean", (0.8, 0.2)),
        ("gaussian(1) + clean", (0.5, 0.5)),
        ("2 gaussian(1) + 5 clean + 1 salt-and-pepper(1)", (0.25, 0.625, 0.125)),
    ],
)
def test_each_sample_gets_one_part_of_a_mixture_with_its_share(text: str, shares: tuple[float, ...]) -> None:
    images, draws = _images(5000, 8), _draws(5000)
    mixed = _corruption(text)(images, draws, (8,))
    parts = [Gaussian(1.0), Clean(), _corruption("salt-and-pepper(1)")][: len(shares)]
    chosen = [(mixed == part(images, draws.part(index), (8,))).all(dim=1) for index, part in enumerate(parts)]
    assert torch.stack(chosen).sum(dim=0).eq(1).all()
    for rows, share in zip(chosen, shares, strict=True):
        low, high = stats.binom.interval(0.999, 5000, share)
        assert low <= rows.sum() <= high


def test_members_together_choose_as_alone_at_the_edge_of_a_share() -> None:
    # A number that can be drawn, 0.7 in float32, lies below 0.7; rounded likewise, the share does not lie above it.
    corruption, images = _corruption("0.7 clean + 0.3 salt-and-pepper(1)", (8,)), _images(1, 8)
    (_, together), *_ = stack_corruptions([corruption], CPU)
    alone = corruption(images, Given(torch.full((1, 1), 0.7)), (8,))
    assert not alone.equal(images)
    assert together(images, Given(torch.full((1, 1, 1), 0.7)), (8,))[0].equal(alone)


# Data sets


def test_a_data_set_is_corrupted_by_presentations(device: torch.device) -> None:
    images = _images(2500, 12).to(device)
    before = images.clone()
    found = corrupt(images, "rotation then gaussian(0.2)", level=30.0, seed=9, state_shape=(3, 4), first=70)
    corruption = _corruption("rotation(30) then gaussian(0.2)", (3, 4))
    expected = corruption(images, Noise(9, "evaluation", device).at(70, 2500), (3, 4))
    assert found.equal(expected)
    assert images.equal(before)
    again = corrupt(images[2000:2010], "rotation(30) then gaussian(0.2)", seed=9, state_shape=(3, 4), first=2070)
    assert again.equal(found[2000:2010])
    in_training = corrupt(images, "gaussian(1)", seed=9, stream="corruption")
    assert in_training.equal(Gaussian(1.0)(images, Noise(9, "corruption", device).at(0, 2500), (12,)))
    assert corrupt(images, "clean", seed=9).data_ptr() != images.data_ptr()


@pytest.mark.parametrize(
    ("corruption", "arguments", "message"),
    [
        ("gaussian", {}, "corruption is 'gaussian': expected a level for gaussian, as in gaussian"),
        ("clean until 3, gaussian(1)", {}, "expected one without 'until'"),
        ("square(0.5)", {}, r"expected one for states of the shape \(12,\): square\(0.5\) needs images"),
        ("clean", {"state_shape": (3, 5)}, r"state_shape is \(3, 5\), expected a shape that holds 12 numbers"),
        ("clean", {"first": -1}, "first is -1, expected at least 0"),
        ("clean", {"seed": -1}, "seed is -1"),
    ],
)
def test_a_data_set_that_cannot_be_corrupted(corruption: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(_images(5, 12), corruption, **{"seed": 0, **arguments})


def test_a_kind_for_images_refuses_other_states_when_it_is_called() -> None:
    with pytest.raises(ValueError, match=r"state_shape is \(108,\), expected that of images"):
        _corruption("square(0.5)")(_images(2), _draws(2), (DIM,))


def test_levels_out_of_range_are_refused_without_a_text() -> None:
    with pytest.raises(InputError, match="gaussian has the level nan, expected a finite number of at least 0"):
        Gaussian(math.nan)
