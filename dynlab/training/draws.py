"""Random numbers of a training, addressed by what they are for: the same on every device, alone and in company.

Every time that a sample is presented to a member of an ensemble, it has random numbers of its own: number `p` of the
presentations of a member (from 0, around and around the images) owns the numbers of a counter-based generator with
the counters that belong to `p`. So they depend on the seed and on `p` alone, neither on the size of minibatches nor on
what else is trained, and the state of the generator is the number of presentations so far. A corruption that needs
several kinds of numbers takes them from channels, which are independent; so are draws of different counts, as the
counter holds how many blocks of numbers are drawn beside which of them it is.

The generator is Philox-4x64-10, as numpy has it, with the key from numpy's `SeedSequence`; on other devices than the
CPU the same words are made by torch. A word is two numbers of 32 bits, the low half first, of which the upper 24 bits
count. Normal numbers come from pairs of these by the transform of Box and Muller: first all the cosines, then all the
sines. They reach to 5.8 standard deviations, as torch's own do. On another device they differ by rounding.

A block takes 500 operations on tensors. Where that counts, on a GPU, `torch.compile` makes few kernels of them.

Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011; Box and Muller, A Note on the
Generation of Random Normal Deviates, 1958.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from dynlab.training.streams import Stream, key_of

_BLOCK = 4  # words that one counter makes
_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF
_RESOLUTION = 2.0**-24
_SHAPES = 1000  # for which kernels may be compiled
_PARTS = 1024  # channels of a draw, and parts of a corruption, are below this number


@runtime_checkable
class Draws(Protocol):
    """The random numbers of some presentations, of shape `(rows,)`, or `(members, rows)` for several members at once.

    A channel gives the same numbers each time it is asked for the same count; other channels give independent ones.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows,)` or `(members, rows)`."""
        ...

    def uniform(self, channel: int, count: int) -> Float32[Tensor, "*rows count"]:
        """`count` numbers for each presentation, uniform in [0, 1), multiples of 2^-24."""
        ...

    def normal(self, channel: int, count: int) -> Float32[Tensor, "*rows count"]:
        """`count` standard normal numbers for each presentation."""
        ...

    def part(self, index: int) -> Draws:
        """Draws of the same presentations for one part of a corruption, independent of those of all other parts."""
        ...


class Noise:
    """All random numbers of one stream of one member.

    Args:
        seed: From 0 to 2^63 - 1.
        stream: Which of the member's streams.
        device: Where the numbers are needed.

    Raises:
        ValueError: If the seed is out of its range.
    """

    def __init__(self, seed: int, stream: Stream, device: torch.device) -> None:
        self._device = device
        self._key = key_of(seed, stream)
        self._generators: dict[tuple[int, int], _Sequential] = {}
        if device.type != "cpu":
            self._keys = _signed(self._key, device)
            self._fused = device.type == "cuda" and noise_can_be_fused(device)

    def at(self, first: int, rows: int) -> Draws:
        """The numbers of the presentations from `first` on.

        Args:
            first: Number of a presentation, from 0.
            rows: How many there are, at least 1.
        """
        if self._device.type == "cpu":
            return _HostDraws(self._key, self._generators, first, rows)
        # Filled on the device: a number that is copied there makes the host wait.
        start = torch.full((), first, device=self._device)
        return _DeviceDraws(self._keys, start, rows, fused=self._fused)


class MembersNoise:
    """The numbers that `Noise` has, for several members at once and on any device.

    Args:
        seeds: Of the members.
        stream: As in `Noise`.
        device: As in `Noise`.
        fused: Whether `torch.compile` makes few kernels of the operations, once for each shape of draws, which takes
            seconds. The integers are the same, normal numbers may differ by rounding.
    """

    def __init__(self, seeds: Sequence[int], stream: Stream, device: torch.device, *, fused: bool = False) -> None:
        self._keys = torch.stack([_signed(key_of(seed, stream), device) for seed in seeds])
        self._fused = fused

    def at(self, first: Int64[Tensor, ""], rows: int) -> Draws:
        """The numbers of the presentations from `first` on, which stays on the device, of shape (members, rows)."""
        return _DeviceDraws(self._keys, first, rows, fused=self._fused)


@cache
def noise_can_be_fused(device: torch.device) -> bool:
    """Whether `MembersNoise` can be fused on this device, and has the same numbers then; if not, a warning says why."""
    seeds, first = [0, 1], torch.tensor(12345, device=device)
    expected = MembersNoise(seeds, "corruption", device).at(first, 3)
    found = MembersNoise(seeds, "corruption", device, fused=True).at(first, 3)
    try:
        with torch.no_grad():
            uniform, normal = found.uniform(0, 50), found.normal(1, 50)
    except Exception as error:  # whatever a compiler, which may not even be there, comes to
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    else:
        if torch.equal(uniform, expected.uniform(0, 50)) and torch.allclose(normal, expected.normal(1, 50), atol=1e-5):
            return True
        reason = "its numbers are wrong"
    warnings.warn(f"noise is not fused and takes longer, since torch.compile failed ({reason})", stacklevel=2)
    return False


class _Sequential:
    """Numpy's generator for one channel and count; it need not be set where the next numbers follow those before."""

    def __init__(self, key: tuple[int, int], channel: int, blocks: int) -> None:
        self._name = (0, channel, blocks)
        counter = np.array([0, *self._name], np.uint64)
        self._generator = np.random.Philox(key=np.array(key, np.uint64), counter=counter)
        self._block = 0

    def words(self, block: int, count: int) -> np.ndarray:
        if block != self._block:
            state = self._generator.state
            state["state"]["counter"] = np.array([block, *self._name], np.uint64)
            state["buffer_pos"] = _BLOCK
            self._generator.state = state
        self._block = block + count // _BLOCK
        return self._generator.random_raw(count)


class _HostDraws:
    def __init__(
        self,
        key: tuple[int, int],
        generators: dict[tuple[int, int], _Sequential],
        first: int,
        rows: int,
        base: int = 0,
    ) -> None:
        self._key, self._generators, self._first, self._rows, self._base = key, generators, first, rows, base

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._rows,)

    def uniform(self, channel: int, count: int) -> Tensor:
        return _to_uniform(self._integers(channel, count)[:, :count])

    def normal(self, channel: int, count: int) -> Tensor:
        return _to_normal(self._integers(channel, count), count)

    def part(self, index: int) -> Draws:
        return _HostDraws(self._key, self._generators, self._first, self._rows, _base_of_part(self._base, index))

    def _integers(self, channel: int, count: int) -> Tensor:
        blocks = _blocks(count)
        name = (self._base + channel, blocks)
        if name not in self._generators:
            self._generators[name] = _Sequential(self._key, *name)
        words = self._generators[name].words(self._first * blocks, self._rows * blocks * _BLOCK)
        return torch.from_numpy(words.view(np.int32)).view(self._rows, -1)


class _DeviceDraws:
    def __init__(self, keys: Tensor, first: Tensor, rows: int, base: int = 0, fused: bool = False) -> None:
        self._keys, self._first, self._rows, self._base, self._fused = keys, first, rows, base, fused

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._keys.shape[:-1], self._rows)

    def uniform(self, channel: int, count: int) -> Tensor:
        return _to_uniform(self._integers(channel, count)[..., :count])

    def normal(self, channel: int, count: int) -> Tensor:
        integers = self._integers(channel, count)
        if not self._fused:
            return _to_normal(integers, count)
        return torch.cat(_compiled(_box_muller)(integers, math.ceil(count / 2)), dim=-1)[..., :count]

    def part(self, index: int) -> Draws:
        return _DeviceDraws(self._keys, self._first, self._rows, _base_of_part(self._base, index), self._fused)

    def _integers(self, channel: int, count: int) -> Tensor:
        blocks, name = _blocks(count), self._base + channel
        # One more, as numpy adds one before it makes a block.
        counters = torch.arange(self._rows * blocks, device=self._keys.device) + (self._first * blocks + 1)
        if self._fused:
            # A tensor, since to be compiled anew for every number would take too long.
            words = _stacked(_compiled(_rounds)(self._keys, counters, torch.full_like(self._first, name), blocks))
        else:
            words = philox(self._keys, counters, name, blocks)
        return words.view(torch.int32).view(*self._keys.shape[:-1], self._rows, -1)


def philox(
    keys: Int64[Tensor, "*members 2"], counters: Int64[Tensor, " blocks"], channel: int, size: int
) -> Int64[Tensor, "*members blocks 4"]:
    """Blocks of Philox-4x64-10 with the counter `(counters, 0, channel, size)`, the lowest word first.

    Integers of 64 bits stand for unsigned ones: sums and products wrap around in the same way.
    """
    return _stacked(_rounds(keys, counters, channel, size))


def _rounds(keys: Tensor, counters: Tensor, channel: int | Tensor, size: int) -> tuple[Tensor, ...]:
    """The four words."""
    key0, key1 = keys[..., 0, None], keys[..., 1, None]
    zero = torch.zeros_like(counters)
    c0, c1, c2, c3 = counters, zero, zero + channel, zero + size
    for number in range(_ROUNDS):
        if number:
            key0, key1 = key0 + _as_signed(_WEYL[0]), key1 + _as_signed(_WEYL[1])
        high0, low0 = _product(_MULTIPLIERS[0], c0)
        high1, low1 = _product(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
    return c0, c1, c2, c3


def _stacked(words: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*words), dim=-1)


def _product(factor: int, words: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of the unsigned product, from four products of halves."""
    low_factor, high_factor = factor & _LOW, factor >> 32
    low, high = words & _LOW, (words >> 32) & _LOW
    low_high, high_low = low_factor * high, high_factor * low
    middle = (((low_factor * low) >> 32) & _LOW) + (low_high & _LOW) + (high_low & _LOW)
    upper = high_factor * high + ((low_high >> 32) & _LOW) + ((high_low >> 32) & _LOW) + ((middle >> 32) & _LOW)
    return upper, words * _as_signed(factor)


def _to_uniform(integers: Tensor) -> Tensor:
    return (integers >> 8).float().mul_(_RESOLUTION).add_(0.5)


def _to_normal(integers: Tensor, count: int) -> Tensor:
    pairs = math.ceil(count / 2)
    # The first number is one minus a uniform one, above 0; the angle is from -pi on.
    radius = (integers[..., :pairs] >> 8).float().mul_(-_RESOLUTION).add_(0.5).log_().mul_(-2).sqrt_()
    angle = (integers[..., pairs : 2 * pairs] >> 8).float().mul_(2 * math.pi * _RESOLUTION)
    numbers = torch.empty(*integers.shape[:-1], 2 * pairs, device=integers.device)
    torch.mul(radius, torch.cos(angle), out=numbers[..., :pairs])
    torch.mul(radius, torch.sin(angle), out=numbers[..., pairs:])
    return numbers[..., :count]


def _box_muller(integers: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """What `_to_normal` computes, in the form that can be compiled."""
    radius = ((integers[..., :pairs] >> 8).float() * -_RESOLUTION + 0.5).log().mul(-2).sqrt()
    angle = (integers[..., pairs : 2 * pairs] >> 8).float() * (2 * math.pi * _RESOLUTION)
    return radius * torch.cos(angle), radius * torch.sin(angle)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiler: Any = torch.compile  # whose overloads have no `recompile_limit`
    # Unwrapped of what checks its annotations in tests.
    return compiler(inspect.unwrap(function), fullgraph=True, dynamic=False, recompile_limit=_SHAPES)


def _blocks(count: int) -> int:
    """Blocks of a presentation that needs `count` numbers of 32 bits, an even number of them."""
    return math.ceil(count / (2 * _BLOCK))


def _base_of_part(base: int, index: int) -> int:
    if index + 1 >= _PARTS:
        raise ValueError(f"part {index} of a corruption, expected fewer than {_PARTS - 1} parts")
    return (base + index + 1) * _PARTS


def _as_signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _signed(key: tuple[int, int], device: torch.device) -> Tensor:
    return torch.tensor([_as_signed(word) for word in key], device=device)
