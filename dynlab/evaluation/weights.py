"""Are the encoder's weights the decoder's, transposed? Similarity of `W1` and `W2^T`, unit by unit, section 6.4.

Hidden unit j looks at its input through row j of `W1`, and writes to the output by column j of `W2`. Their similarity
is the cosine of the angle between the two. Without bonds between them it would be that of any row with any column, so
the cosines of all `n (n - 1)` other pairs are what it is compared with: their mean and standard deviation, and how
often a unit's own column is the one of all columns that is most similar to its row. Unlike a correlation of pixels,
this asks nothing of the lengths of the weights, which have a number of their own.

Deeper autoencoders are mirrors: layer i of the encoder is compared with the layer of the decoder between the same two
widths.

Source: Bahdanau and Jaeger 2014, section 6.4, where the two "tend to be very similar" to the eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor

from dynlab.maps import Map


@dataclass(frozen=True)
class WeightSimilarity:
    """How similar the weights of a layer of the encoder and of its mirror image in the decoder are."""

    layer: int  # of the encoder, from 0
    cosines: Float64[Tensor, " units"]  # of each unit's row in the encoder with its own column in the decoder
    shuffled: Float64[Tensor, " units"]  # with the next unit's column, the last one with the first's: strangers
    shuffled_mean: float  # of the cosines of all pairs of different units; of a single unit 0
    shuffled_sd: float
    nearest_share: float  # share of units whose own column is the most similar one
    whole: float  # the cosine of the two matrices, all their numbers taken as one vector
    length_ratio: float  # median over the units of the length of the column by that of the row


@torch.no_grad()
def weight_similarities(system: Map) -> list[WeightSimilarity]:
    """Compare the layers of the encoder of an autoencoder with their mirror images.

    Args:
        system: The map; what is no autoencoder, that is, has no even number of layers whose widths are mirrored, has
            nothing to compare.

    Returns:
        One entry for each layer of the encoder, from the input on; in float64, on the CPU.

    Source: Bahdanau and Jaeger 2014, section 6.4.
    """
    weights = [layer.weight.double().cpu() for layer in system.layers() or ()]
    half = len(weights) // 2
    pairs = list(zip(weights[:half], reversed(weights[half:]), strict=False))
    if len(weights) % 2 or any(row.shape != column.shape[::-1] for row, column in pairs):
        return []
    return [_similarity(layer, rows, columns.t()) for layer, (rows, columns) in enumerate(pairs)]


def _similarity(layer: int, rows: Tensor, columns: Tensor) -> WeightSimilarity:
    # A unit without weights is similar to none: its cosines are 0.
    table = F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).t()
    own, units = table.diagonal(), len(table)
    others = table[~torch.eye(units, dtype=torch.bool)]
    lengths = torch.linalg.vector_norm(columns, dim=1) / torch.linalg.vector_norm(rows, dim=1)
    return WeightSimilarity(
        layer=layer,
        cosines=own.clone(),
        shuffled=table[torch.arange(units), torch.arange(units).roll(-1)],
        shuffled_mean=float(others.mean()) if len(others) else 0.0,
        shuffled_sd=float(others.std(correction=0)) if len(others) else 0.0,
        nearest_share=float((table.argmax(dim=1) == torch.arange(units)).double().mean()),
        whole=float(F.cosine_similarity(rows.flatten(), columns.flatten(), dim=0)),
        length_ratio=float(lengths.quantile(0.5)),
    )
