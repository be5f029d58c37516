"""What is said of pictures of basins on planes, and of how uncertain the outcome is there."""

from __future__ import annotations

import math

from dynlab.attractors.planes import BasinEntropy
from dynlab.evaluation.planes import BOX, PlanePicture
from dynlab.report.basin_colours import COLOURS
from dynlab.report.words import count, enumeration, number, percent


def picture_words(picture: PlanePicture, side: int, attractors: int, *, is_whole: bool = False) -> str:
    """What was drawn, and what is on it.

    Args:
        picture: What it shows.
        side: States along a side of it.
        attractors: How many attractors samples reach.
        is_whole: Whether all states are on the plane.
    """
    ends = [(picture.basins, "attractor"), (picture.cycles, "cycle")]
    reached = enumeration([count(how_many, noun) for how_many, noun in ends if how_many])
    names = enumeration([str(attractor) for attractor in picture.attractors])
    is_one = len(picture.attractors) == 1
    which = f"attractor{'' if is_one else 's'} {names}, where the circle{' is' if is_one else 's are'}"
    what = f"The plane goes through {which}; distances on it are those between states"
    if is_whole:
        what = (
            "States are two numbers, and this is their plane as far as attractors and all but the outermost samples go"
        )
        what += f", with {which}" if names else ""
    they = f": they reach {reached}" if reached else ", and none reached a fixed point or a cycle"
    sentences = [f"{what}. Each of {side} × {side} states was iterated{they}."]
    if picture.unsampled:
        verb = "is" if picture.unsampled == 1 else "are"
        sentences.append(
            f"Of these, {number(picture.unsampled)} {verb} reached by no sample; such attractors are numbered from "
            f"{number(attractors)} on."
        )
    if picture.unsampled_cycles:
        verb = "is" if picture.unsampled_cycles == 1 else "are"
        sentences.append(f"{count(picture.unsampled_cycles, 'cycle')} {verb} reached by no sample.")
    if picture.diverged:
        what = "diverges: it is" if picture.diverged == 1 else "diverge: they are"
        sentences.append(f"{count(picture.diverged, 'state')} {what} blank, and one more basin below.")
    if picture.unresolved:
        what, counts = ("it is pale", "counts") if picture.unresolved == 1 else ("they are pale", "count")
        # Where there is nothing else, nothing is said of basins below.
        others = picture.basins + picture.cycles + picture.diverged
        more = f", and {counts} as one more basin below" if others else ""
        sentences.append(f"{count(picture.unresolved, 'state')} remained unresolved: {what}{more}.")
    if picture.basins + picture.cycles > len(COLOURS):
        sentences.append("Basins without a colour of their own are grey, in three shades that neighbours may share.")
    return " ".join(sentences)


def entropy_words(entropy: BasinEntropy, crowded_boxes: int) -> str:
    """Basin entropies and what they mean."""
    within = entropy.boundary_basin_entropy
    if within is None:
        return "One basin fills the picture: there is no boundary on it, and nothing uncertain."
    shares = f"{number(entropy.boundary_boxes)} of {number(entropy.boxes)} boxes of {BOX} × {BOX} states"
    holds = "holds" if entropy.boundary_boxes == 1 else "hold"
    sentences = [
        (
            f"{shares} {holds} a boundary. Who knows a start only to such a box is as unsure of its attractor as among "
            f"{math.exp(within):.2f} equally likely ones: the boundary basin entropy is {within:.2f} nats. Over all "
            f"boxes the basin entropy is {entropy.basin_entropy:.2f}."
        )
    ]
    if within > math.log(2):
        crowded = percent(crowded_boxes / entropy.boundary_boxes)
        sentences.append(
            "Smooth boundaries of two basins at a time cannot exceed log 2, 0.69. This shows folded, fractal ones only "
            f"where boxes with three basins or more are few; here they are {crowded} of those on a boundary."
        )
    else:
        sentences.append("Above log 2, 0.69, it would show that boundaries are fractal; below, it does not tell.")
    return " ".join(sentences)
