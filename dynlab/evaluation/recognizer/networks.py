"""Small convolutional networks that tell the classes from each other and from stains.

Two convolutions of 3 x 3, the second of stride 2, and a hidden layer; rows of numbers have the hidden layer only.
They are trained by Adam with decoupled weight decay on cross-entropy, with stains as one more class. In each epoch the
stains are new, half of the members are averages of near neighbours, and all get new looks (`looks`, beside this file).

Source: Hendrycks, Mazeika and Dietterich, Deep Anomaly Detection with Outlier Exposure, 2019; Lakshminarayanan, Pritzel
and Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from dynlab.evaluation.recognizer.looks import local_means, nearest_of_class, with_looks
from dynlab.evaluation.recognizer.stains import fitting_stains

_CHANNELS, _HIDDEN = (32, 64), 128
_FEWEST_EPOCHS, _MOST_EPOCHS, _PRESENTED_MEMBERS = 4, 50, 60_000
_BATCH = 128
_LEARNING_RATE, _WEIGHT_DECAY = 6e-3, 1e-4
_BLOCK = 1000

# Weights and biases of one network, layer by layer.
Network = list[tuple[Tensor, Tensor]]


def fit_network(
    images: Float32[Tensor, "samples height width"],
    indices: Int64[Tensor, " samples"],
    stain: int,
    generator: torch.Generator,
    device: torch.device,
    on_progress: Callable[[float], None],
) -> Network:
    """Train one network.

    Args:
        images: Real images, pixels in [0, 1].
        indices: Class of each image, from 0 to below `stain`.
        stain: Index of the class that stains are.
        generator: Source of all randomness, on the CPU.
        device: Where the network is trained and stays.
        on_progress: Called after each epoch with the share that is done.

    Returns:
        Weights and biases, those of the output layer last.
    """
    network = _initialized(images.shape[1], images.shape[2], stain + 1, generator, device)
    optimizer = torch.optim.AdamW([p for layer in network for p in layer], weight_decay=_WEIGHT_DECAY)
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_PRESENTED_MEMBERS / len(images))))
    neighbours = nearest_of_class(images, indices)
    for epoch in range(epochs):
        stains = fitting_stains(images, indices, generator)
        members = local_means(images, neighbours, generator)
        inputs = with_looks(torch.cat([members, stains]), generator).to(device)
        targets = torch.cat([indices, torch.full((len(stains),), stain)]).to(device)
        batches = torch.randperm(len(inputs), generator=generator).to(device).split(_BATCH)
        for number, batch in enumerate(batches):
            _set_learning_rate(optimizer, (epoch + number / len(batches)) / epochs)
            logits = _logits(network, inputs[batch])
            optimizer.zero_grad()
            F.cross_entropy(logits, targets[batch]).backward()
            optimizer.step()
        on_progress((epoch + 1) / epochs)
    return [(weight.detach(), bias.detach()) for weight, bias in network]


def _set_learning_rate(optimizer: torch.optim.Optimizer, done: float) -> None:
    """Up in a straight line during the first tenth, then down to 0 like a cosine."""
    for group in optimizer.param_groups:
        group["lr"] = _LEARNING_RATE * min(1.0, 0.01 + done / 0.1) * (1 + math.cos(math.pi * done)) / 2


def _initialized(height: int, width: int, outputs: int, generator: torch.Generator, device: torch.device) -> Network:
    """He's normal initialization, zero biases."""
    shapes: list[tuple[int, ...]] = []
    if height > 1:
        rows, columns = height, width
        for sources, channels in zip((1, *_CHANNELS[:-1]), _CHANNELS, strict=True):
            shapes.append((channels, sources, 3, 3))
            if sources > 1:
                rows, columns = (rows + 1) // 2, (columns + 1) // 2
        width = _CHANNELS[-1] * rows * columns
    shapes += [(_HIDDEN, width), (outputs, _HIDDEN)]
    layers = []
    for shape in shapes:
        scale = math.sqrt(2 / math.prod(shape[1:])) * (0.3 if shape is shapes[-1] else 1.0)
        weight = scale * torch.randn(shape, generator=generator)
        layers.append((weight.to(device).requires_grad_(), torch.zeros(shape[0], device=device, requires_grad=True)))
    return layers


def _logits(network: Network, images: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch outputs"]:
    """Outputs before the softmax, the last one for stains."""
    *convolutions, hidden, last = network
    values = images[:, None]
    for weight, bias in convolutions:
        stride = 1 if weight.shape[1] == 1 else 2
        values = F.relu(F.conv2d(values, weight, bias, stride=stride, padding=1))
    values = F.relu(F.linear(values.flatten(1), *hidden))
    return F.linear(values, *last)


@torch.no_grad()
def scores_of(
    networks: list[Network], images: Float[Tensor, "batch height width"]
) -> tuple[Float64[Tensor, " batch"], Int64[Tensor, " batch"]]:
    """Log odds of the likeliest class against all else, and the index of that class.

    The networks' log probabilities are averaged. Computed in float64 on the device of the networks; comes back on the
    CPU.
    """
    device = networks[0][0][0].device
    exact = [[(weight.double(), bias.double()) for weight, bias in network] for network in networks]
    scores, indices = [], []
    for block in images.split(_BLOCK):
        pictures = block.to(device, torch.float64)
        logs = torch.stack([_logits(network, pictures).log_softmax(dim=1) for network in exact]).mean(dim=0)
        best = logs[:, :-1].max(dim=1)
        rest = logs.scatter(1, best.indices[:, None], -math.inf).logsumexp(dim=1)
        scores.append((best.values - rest).cpu())
        indices.append(best.indices.cpu())
    return torch.cat(scores), torch.cat(indices)
