"""Defines the job that all programs of the tutorial's page run, and what they print.

    x = 0, 1, …, 9999      y = 3.657 · x + 0.33 · ε,   ε ~ N(0, 1) drawn anew at every epoch

y is formed in float64 and cast to float32; batches are the rows in order. `linreg fit` has the same job as its default.
"""

import argparse

import numpy as np

NUM_ROWS = 10_000
BATCH_SIZE = 5_000
LEARNING_RATE = 1e-10
L2 = 1e-10
INIT_STD = 0.01
EPOCHS = 2_000
DISPLAY_EVERY_N_EPOCHS = 100
SLOPE = 3.657
NOISE_STD = 0.33

X = np.arange(NUM_ROWS, dtype=np.float64).reshape(-1, 1)
"""(NUM_ROWS, 1), float64: what y is formed of. The programs train on its cast to float32."""


def draw_y() -> np.ndarray:
    """Draws one epoch's y (NUM_ROWS, 1), float32, from NumPy's global stream."""
    return (SLOPE * X + NOISE_STD * np.random.randn(NUM_ROWS, 1)).astype(np.float32)


def epochs_from_flags() -> int:
    """Reads the program's only flag."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    epochs: int = parser.parse_args().epochs
    return epochs


def print_line(epoch: int, cost: float, W: float, b: float) -> None:
    """Prints the tutorial's line."""
    print(f"epoch {epoch:6d}   loss {cost:14.3f}   W {W:.3f}   b {b:.3f}")


def print_result(W: float, loop_seconds: float) -> None:
    """Prints the result that `benchmarks.tutorial` reads from every program."""
    print(f"W {W:.6f}")
    print(f"loop_seconds {loop_seconds:.6f}", flush=True)
