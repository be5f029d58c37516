"""Is an image a clear member of a class, or a stain? A recognizer for attractors, learned from real images.

A few small convolutional networks tell the classes apart from each other and from stains (`stains`, beside this file).
The score of an image is the log odds of its likeliest class against everything else, the other classes and the stains:
what is no digit has a low score, and so has what might be this digit or that one. An image is a member if its score
reaches the threshold, which is the one that 95% of held-out real images reach.

Attractors are not raw images: they are smooth, their strokes are thick, there is grey flesh around a white skeleton. So
the networks see members with such looks, averages of near neighbours of one class among them, and they see stains with
the same looks, so that the look itself says nothing.

Three parts of the data do three things: one fits the networks, one sets the threshold, and one judges the result, with
kinds of stains that neither fitting nor threshold ever saw.

Source: Hendrycks, Mazeika and Dietterich, Deep Anomaly Detection with Outlier Exposure, 2019. For what a
stain is, Bahdanau and Jaeger 2014, section 6.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from dynlab.errors import InputError
from dynlab.evaluation.recognizer.networks import Network, fit_network, scores_of
from dynlab.evaluation.recognizer.stains import judged_stains, symmetric_classes
from dynlab.evaluation.recognizer.strokes import grey_image_sides, has_geometry
from dynlab.short_repr import short_repr

_REAL = "digits"  # in reports; what is shown says held-out images, as they need not be digits
_FEWEST = 5  # samples that two classes must have
_KEPT_MEMBERS = 0.95  # share of held-out real images that the threshold keeps
_SHARES = (0.7, 0.15, 0.15)  # of the samples: for fitting, for the threshold, for judging
_MOST_FITTED, _MOST_HELD_OUT = 15_000, 2_500
_LARGEST_SIDE = 14  # larger images are reduced to it
_NETWORKS = 2


@dataclass(frozen=True)
class Judgement:
    """What the recognizer said of one kind of images it was judged on."""

    # How the images came about: "digits" for held-out real ones, whatever they show, else the kind of stain.
    images: str
    stains: bool  # whether they are stains in truth
    judged: int
    called_member: int  # recognized as a member of some class
    called_stain: int


@dataclass(frozen=True)
class RecognizerReport:
    """How the recognizer was made and how far to trust it."""

    method: str
    train_samples: int
    threshold: float
    threshold_set_on: list[str]  # kinds of images the threshold was set on; none of the stains judged is among them
    balanced_accuracy: float  # of member against stain: mean of the two rates, every kind of stain weighing the same
    class_accuracy: float  # share of held-out real images whose nearest class is the true one
    confusion: list[Judgement]


@dataclass(frozen=True)
class Recognition:
    """The recognizer's word on a batch of states."""

    classes: Int64[Tensor, " batch"]  # nearest class, whether a member of it or not
    scores: Float64[Tensor, " batch"]  # log odds of that class against all else
    is_member: Bool[Tensor, " batch"]  # the score reaches the threshold


@dataclass(frozen=True)
class Recognizer:
    """Tells members of classes from stains; `train_recognizer` makes one."""

    __repr__ = short_repr

    networks: list[Network]
    known_classes: Int64[Tensor, " classes"]
    state_shape: tuple[int, ...]
    threshold: float
    report: RecognizerReport

    def recognize(self, states: Float[Tensor, "batch dim"]) -> Recognition:
        """What each state is.

        Computed in float64, so that the word on a state does not depend on its company in the batch.

        Args:
            states: Pixels in [0, 1], shape (batch, dim), on any device.

        Returns:
            Classes, scores and words, shape (batch,), on the CPU.

        Raises:
            ValueError: If `states` has another dim than the recognizer.
        """
        dim = math.prod(self.state_shape)
        if states.shape[1] != dim:
            raise ValueError(f"states has shape {tuple(states.shape)}, expected (batch, {dim})")
        scores, classes = scores_of(self.networks, _reduced(_as_images(states, self.state_shape)))
        return Recognition(self.known_classes[classes], scores, scores >= self.threshold)


def train_recognizer(
    images: Float32[Tensor, "samples dim"],
    classes: Int64[Tensor, " samples"],
    *,
    state_shape: tuple[int, ...],
    seed: int = 0,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    on_progress: Callable[[float], None] | None = None,
) -> Recognizer:
    """Learn to tell members of the given classes from stains.

    Args:
        images: Real images, pixels in [0, 1], shape (samples, dim). At most 15000 fit the networks, 2500 set the
            threshold and 2500 judge.
        classes: Class of each image, any integers, at least two different ones.
        state_shape: How a state is looked at. Geometry is used only where this is (height, width), both at least 6,
            with a channel axis of length 1 or without; any other state is a row of numbers.
        seed: Of the split, the initialization, the stains and the order; nothing else is random, and the global random
            state is neither used nor changed.
        device: Where the networks are trained; the recognizer stays there.
        on_progress: Called now and then with the share that is done, from 0 to 1.

    Returns:
        The recognizer, with the report on how it was made and judged.

    Raises:
        InputError: If there are too few samples or classes to learn, to set a threshold and to judge.
        ValueError: If `images`, `classes` and `state_shape` do not fit together.
    """
    if images.shape[1] != math.prod(state_shape):
        raise ValueError(f"images has shape {tuple(images.shape)}, expected (samples, {math.prod(state_shape)})")
    if len(classes) != len(images):
        raise ValueError(f"classes has length {len(classes)}, expected {len(images)}, one for each image")
    generator = torch.Generator().manual_seed(seed)
    known_classes, indices = classes.cpu().unique(return_inverse=True)
    _check_enough(indices)
    pictures = _reduced(_as_images(images.cpu(), state_shape))
    fitting, setting, judging = _split(indices, generator)

    networks: list[Network] = []
    for number in range(_NETWORKS):

        def report_progress(done: float, before: int = number) -> None:
            if on_progress:
                on_progress((before + done) / _NETWORKS)

        stain = len(known_classes)
        networks.append(fit_network(pictures[fitting], indices[fitting], stain, generator, device, report_progress))
    threshold = float(scores_of(networks, pictures[setting])[0].quantile(1 - _KEPT_MEMBERS))
    some = fitting[:_MOST_HELD_OUT]
    symmetric = symmetric_classes(pictures[some], indices[some]) if has_geometry(pictures) else frozenset()
    held_out = _as_images(images.cpu()[judging], state_shape)
    stains = judged_stains(held_out, indices[judging], generator, symmetric_classes=symmetric)
    report = _report(networks, threshold, len(fitting), held_out, indices[judging], stains)
    return Recognizer(networks, known_classes, state_shape, threshold, report)


def enough_to_learn(classes: Int64[Tensor, " samples"]) -> bool:
    """Whether there are two classes of at least five samples, so that fitting, threshold and judging each have some."""
    return int((classes.unique(return_counts=True)[1] >= _FEWEST).sum()) >= 2


def _check_enough(indices: Int64[Tensor, " samples"]) -> None:
    """Each of the three parts must have samples of two classes."""
    sizes = indices.bincount()
    if len(sizes) < 2:
        raise InputError(f"recognizer: the labelled images are of {len(sizes)} class, expected at least 2")
    if not enough_to_learn(indices):
        raise InputError(
            f"recognizer: the largest classes have {_largest(sizes)} samples, expected at least {_FEWEST} in two"
        )


def _largest(sizes: Int64[Tensor, " classes"]) -> str:
    return " and ".join(str(int(size)) for size in sizes.sort(descending=True).values[:2])


def _split(indices: Int64[Tensor, " samples"], generator: torch.Generator) -> list[Int64[Tensor, " part"]]:
    """Rows for fitting, for the threshold and for judging: of each class the same shares, as far as it goes.

    Where a part would be too large, the classes take turns until it is full, so that no class is lost.
    """
    shuffled = torch.randperm(len(indices), generator=generator)
    shuffled = shuffled[indices[shuffled].argsort(stable=True)]
    sizes = indices.bincount()
    rank = torch.arange(len(indices)) - (sizes.cumsum(0) - sizes)[indices[shuffled]]
    place = (rank.double() + 0.5) / sizes[indices[shuffled]]
    ends = (0.0, _SHARES[0], _SHARES[0] + _SHARES[1], 1.0)
    parts = []
    for low, high, most in zip(ends[:-1], ends[1:], (_MOST_FITTED, _MOST_HELD_OUT, _MOST_HELD_OUT), strict=True):
        inside = ((place >= low) & (place < high)).nonzero()[:, 0]
        parts.append(shuffled[inside[rank[inside].argsort(stable=True)[:most]]])
    return parts


def _as_images(states: Float[Tensor, "batch dim"], state_shape: tuple[int, ...]) -> Float[Tensor, "batch height width"]:
    """What is no grey image, or too small for one, becomes a row of height 1."""
    images = states.reshape(len(states), *(grey_image_sides(state_shape) or (1, -1)))
    return images if has_geometry(images) else images.reshape(len(states), 1, -1)


def _reduced(images: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch reduced_height reduced_width"]:
    """Large images averaged down: what makes a digit a digit is seen in 14 x 14 pixels, at a quarter of the cost."""
    reduction = _LARGEST_SIDE / max(images.shape[1:])
    if reduction >= 1 or not has_geometry(images):
        return images
    height, width = (max(6, round(side * reduction)) for side in images.shape[1:])
    return F.adaptive_avg_pool2d(images[:, None], (height, width))[:, 0]


def _report(
    networks: list[Network],
    threshold: float,
    train_samples: int,
    held_out: Float32[Tensor, "samples height width"],
    truth: Int64[Tensor, " samples"],
    stains: dict[str, Tensor],
) -> RecognizerReport:
    """Judge on held-out images and stains made of them in full size, as `recognize` would be asked."""
    scores, found = scores_of(networks, _reduced(held_out))
    confusion = [_judgement(_REAL, scores >= threshold, stains=False)]
    for kind, made in stains.items():
        confusion.append(_judgement(kind, scores_of(networks, _reduced(made))[0] >= threshold, stains=True))
    member_rate = confusion[0].called_member / confusion[0].judged
    stain_rates = [row.called_stain / row.judged for row in confusion[1:]]
    kind_of_network = "convolutional networks" if has_geometry(held_out) else "networks"
    return RecognizerReport(
        method=f"{len(networks)} {kind_of_network} fitted to real images and synthetic stains of other kinds",
        train_samples=train_samples,
        threshold=threshold,
        threshold_set_on=[f"held-out {_REAL}"],
        balanced_accuracy=(member_rate + sum(stain_rates) / len(stain_rates)) / 2,
        class_accuracy=float((found == truth).double().mean()),
        confusion=confusion,
    )


def _judgement(images: str, is_member: Bool[Tensor, " batch"], *, stains: bool) -> Judgement:
    members = int(is_member.sum())
    return Judgement(images, stains, len(is_member), members, len(is_member) - members)
