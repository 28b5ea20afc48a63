"""Where do random numbers come from? From the seed and a position, never from a global state.

`stream(seed, *position)` is a pure function: the same seed and position give the same numbers in any process, in any
order of calls, on any device. That is what lets a killed run draw the batch it would have drawn.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """First coordinate of a position, so that no two uses share their numbers."""

    NOISE = 0
    HELD_OUT_NOISE = 1
    ROW_ORDER = 2
    SPLIT = 3
    GROUP_ORDER = 4


def stream(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """The random numbers that belong to `position` (epoch, index, …) under `seed`, a whole number ≥ 0.

    NumPy's `SeedSequence` mixes seed and position into independent streams (its `spawn_key` is made for this).
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *position)))
