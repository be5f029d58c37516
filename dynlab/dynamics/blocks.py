"""How many states to iterate at once, and where."""

from __future__ import annotations

from itertools import chain

from torch import Tensor

from dynlab.maps import Map

# A CPU core multiplies fastest while a block of states and its images stay in its second-level cache.
_CPU_BLOCK_BYTES = 2**21
_GPU_BLOCK_BYTES = 2**30


def block_rows(dim: int, like: Tensor) -> int:
    """Rows of a block of states of dimension `dim`, of the dtype and on the device of `like`; at least 32."""
    limit = _CPU_BLOCK_BYTES if like.device.type == "cpu" else _GPU_BLOCK_BYTES
    return max(32, limit // (dim * like.dtype.itemsize))


def home_of(system: Map, states: Tensor) -> Tensor:
    """A tensor of the dtype and on the device that `system` computes with.

    Its first floating point parameter, else its first such buffer, else `states` themselves.
    """
    tensors = chain(system.parameters(), system.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), states)
