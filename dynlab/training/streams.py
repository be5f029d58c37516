"""Random streams: every use of chance in training has a generator of its own, derived from the seed.

The generator of a stream is torch's Mersenne Twister on the CPU, seeded with the first 64-bit word that numpy's
`SeedSequence(seed, spawn_key=(position in STREAMS,))` generates. So streams of one seed and of neighbouring seeds are
unrelated, a model trained alone and among others sees the same numbers, and so does every device.

Source: O'Neill, Developing a seed_seq alternative, 2015 (the algorithm of `SeedSequence`, which numpy keeps frozen).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

Stream = Literal["initialization", "corruption", "evaluation"]
# Positions are part of every result: add at the end only.
STREAMS: tuple[Stream, ...] = get_args(Stream)
MAX_SEED = 2**63 - 1


def generator(seed: int, stream: Stream) -> torch.Generator:
    """The generator of one stream of `seed`, at its beginning, on the CPU.

    Raises:
        ValueError: If `seed` is not from 0 to 2^63 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}, expected from 0 to 2^63 - 1")
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream),))
    # torch takes the low 32 bits of it for this generator.
    return torch.Generator("cpu").manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
