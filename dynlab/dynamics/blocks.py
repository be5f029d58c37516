"""How many states to iterate at once, where, and some of them."""

from __future__ import annotations

from itertools import chain

import torch
from numpy.typing import NDArray
from torch import Tensor

from dynlab.maps import Map, MapT, float64_copy

# On a CPU a block of states and its images stay in the cache that cores share. From 128 rows on, products are as fast
# as they get, and the more samples are on their way, the more starts of Newton's method come together. States of few
# numbers mostly pass through layers of more, so that their rows are limited as well.
_CPU_BLOCK_BYTES, _CPU_BLOCK_ROWS = 3 * 2**20, 4096
_GPU_BLOCK_BYTES, _GPU_BLOCK_ROWS = 2**30, 2**20


def block_rows(dim: int, like: Tensor) -> int:
    """Rows of a block of states of dimension `dim`, of the dtype and on the device of `like`; at least 32."""
    on_cpu = like.device.type == "cpu"
    limit, rows = (_CPU_BLOCK_BYTES, _CPU_BLOCK_ROWS) if on_cpu else (_GPU_BLOCK_BYTES, _GPU_BLOCK_ROWS)
    fitting = max(32, min(rows, limit // (dim * like.dtype.itemsize)))
    return fitting - fitting % 64 if fitting > 64 else fitting  # libraries multiply whole tiles of rows


def home_of(system: Map, states: Tensor) -> Tensor:
    """A tensor of the dtype and on the device that `system` computes with.

    Its first floating point parameter, else its first such buffer, else `states` themselves.
    """
    tensors = chain(system.parameters(), system.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), states)


def in_float64(system: MapT, states: Tensor) -> tuple[MapT, Tensor]:
    """A copy of the map in float64, and the states as it takes them: in float64, where the map is."""
    exact = float64_copy(system)
    return exact, states.to(home_of(exact, states).device, torch.float64)


def rows_of(states: Tensor, rows: NDArray) -> Tensor:
    """Some rows of a tensor that may be on another device, by their indices or a mask."""
    return states[torch.from_numpy(rows).to(states.device)]
