"""How `diabetes.csv` was made: scikit-learn's `load_diabetes`, its features scaled to unit variance."""

import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes


def main() -> None:
    """Writes the table beside this file."""
    table = load_diabetes()
    x = table.data * np.sqrt(len(table.data))  # scikit-learn scales each column to a sum of squares of 1
    with (Path(__file__).parent / "diabetes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*table.feature_names, "progression"])
        for features, target in zip(x, table.target, strict=True):
            writer.writerow([*(f"{value:.6f}" for value in features), f"{target:g}"])


if __name__ == "__main__":
    main()
