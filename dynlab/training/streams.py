"""Random streams: every use of chance in training has a generator of its own, derived from the seed.

What a stream begins with are the words that numpy's `SeedSequence(seed, spawn_key=(position in STREAMS,))` generates.
So streams of one seed and of neighbouring seeds are unrelated, a model trained alone and among others sees the same
numbers, and so does every device. Weights are drawn once and on the CPU, by torch's Mersenne Twister (`generator`);
what is drawn anew for every sample comes from a generator that counts (`dynlab.training.draws`).

Source: O'Neill, Developing a seed_seq alternative, 2015 (the algorithm of `SeedSequence`, which numpy keeps frozen).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

Stream = Literal["initialization", "corruption", "evaluation", "adversary"]
# Positions are part of every result: add at the end only.
STREAMS: tuple[Stream, ...] = get_args(Stream)
MAX_SEED = 2**63 - 1


def generator(seed: int, stream: Stream) -> torch.Generator:
    """Torch's generator of one stream of `seed`, at its beginning, on the CPU.

    Raises:
        ValueError: If `seed` is not from 0 to 2^63 - 1.
    """
    # torch takes the low 32 bits of it for this generator.
    return torch.Generator("cpu").manual_seed(key_of(seed, stream)[0])


def key_of(seed: int, stream: Stream) -> tuple[int, int]:
    """The first two 64-bit words of one stream of `seed`.

    Raises:
        ValueError: If `seed` is not from 0 to 2^63 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}, expected from 0 to 2^63 - 1")
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream),))
    first, second = sequence.generate_state(2, np.uint64)
    return int(first), int(second)
