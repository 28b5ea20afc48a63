"""The tutorial's settings, by its own names: the job of `linreg fit` without flags, and `LinearRegression.tutorial`."""

from typing import Any

DATA_LENGTH = 10_000
BATCH_SIZE = 5_000
LEARNING_RATE = 1e-10
REG = 1e-10
NUM_EPOCHS = 2_000
DISPLAY_STEP = 100


def model_settings() -> dict[str, Any]:
    """Returns the arguments of `LinearRegression` with which it is the tutorial's model: plain gradient descent."""
    return {
        "learning_rate": LEARNING_RATE,
        "l2": REG,
        "momentum": 0.0,
        "schedule": "constant",
        "tail_averaging": 0.0,
        "standardize": False,
        "precondition": False,
        "start_at_mean": False,
    }
