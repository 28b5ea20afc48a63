"""Random numbers that depend only on the seed and a position, never on a global state.

`stream(seed, *position)` is a pure function: the same seed and position give the same numbers in any process, in any
order of calls, on any device. So a run that was killed draws the same batches when it resumes.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The first coordinate of a position: each use of random numbers has its own streams."""

    NOISE = 0
    HELD_OUT_NOISE = 1
    ROW_ORDER = 2
    SPLIT = 3
    GROUP_ORDER = 4
    FOLDS = 5


def stream(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """Returns the generator of `position` (epoch, index, …) under `seed`, a whole number ≥ 0.

    NumPy's `SeedSequence` mixes seed and position into independent streams; its `spawn_key` is made for this.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *position)))
