"""Tables made with gaps, marks, labels, dates and decorated numbers equal the same tables cleaned by hand."""

import tempfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linreg_pl import InputError
from tests.test_cases import estimates, refusal, solution

MARKS = ["", "NA", "n/a", "-", ".", "?", "--", "None", "null", "N/A", "<NA>", "NaN"]
LABELS = ["Ulm", "Köln", 'the "Markt"', "two\nlines", "a, b", "Q1", "15-24", "<1l", "75+", "week 3"]
DATES = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d %b %Y", "%B %d, %Y", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d"]
NUMBERS: dict[str, Callable[[float], str]] = {
    "plain": "{:.2f}".format,
    "blanks": " {:.2f} ".format,
    "thousands": "{:,.1f}".format,
    "percent": "{:.1f}%".format,
    "percent, blank": "{:.1f} %".format,
    "euro before": "€ {:.2f}".format,
    "euro behind": "{:.2f} €".format,
    "minus": lambda value: f"{value:.2f}".replace("-", "\N{MINUS SIGN}"),
    "exponent": "{:.6e}".format,
}


def made(choices: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns a clean table of numbers, labels and NaN, and the same as texts that people write."""
    generator = np.random.default_rng(choices["seed"])
    n = choices["num_rows"]
    x = generator.integers(-99_999, 99_999, n) / 10
    moments = pd.Timestamp("1970-01-01") + pd.to_timedelta(generator.integers(-5000, 20_000, n), "D")
    if "%H" in choices["date"]:
        moments += pd.to_timedelta(generator.integers(0, 86_400, n), "s")
    days = (moments - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    plain = generator.normal(size=n).round(3)
    labels = generator.choice(choices["labels"], n)
    clean = pd.DataFrame({"x": x, "day": days, "label": labels, "plain": plain, "y": generator.normal(size=n).round(4)})
    texts = pd.DataFrame(
        {
            "x": [NUMBERS[choices["number"]](value) for value in x],
            "day": moments.strftime(choices["date"]),
            "label": labels,
            "plain": plain.astype(str),
            "y": clean.y.astype(str),
        }
    )
    for name, mark in choices["marks"].items():
        rows = generator.random(n) < 0.08
        clean.loc[rows, name] = np.nan
        texts.loc[rows, name] = mark
    return clean, texts


def oracle(clean: pd.DataFrame, missing: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the names of the columns of x, their values, and y, with missing values treated by hand."""
    kept = clean.dropna() if missing == "drop" else clean.dropna(subset=["y"])
    columns: dict[str, pd.Series] = {}
    for name in kept.columns.drop("y"):
        values, gaps = kept[name], kept[name].isna()
        if name == "label":
            for label in sorted(values.dropna().unique()):
                columns[f"{name}={label}"] = (values == label).astype(float).where(~gaps)
        else:
            columns[name] = values.astype(float)
        if missing == "indicator" and clean.dropna(subset=["y"])[name].isna().any():
            columns[f"{name} is missing"] = gaps.astype(float)
    x = pd.DataFrame(columns)
    return list(x.columns), x.fillna(x.mean()).to_numpy(), kept["y"].to_numpy()


def assert_equals(path: Any, clean: pd.DataFrame, missing: Any, **flags: Any) -> None:
    """Compares the exact solution of a table with the oracle's."""
    names, x, y = oracle(clean, missing)
    answer = solution(path, missing=missing, **flags)
    assert list(estimates(answer)) == names
    center, size = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    design = np.column_stack([np.ones(len(x)), (x - center) / size])
    fitted = design @ np.linalg.lstsq(design, y, rcond=1e-10)[0]
    content = answer.to_dict()
    assert content["num_rows"] == len(y)
    assert content["objective"] == pytest.approx(np.mean((y - fitted) ** 2), rel=1e-8)
    ours = x @ list(estimates(answer).values()) + content["intercept"]["estimate"]
    np.testing.assert_allclose(ours, fitted, rtol=0, atol=1e-7)


def written(texts: pd.DataFrame, form: str, folder: Path) -> Any:
    """Returns the table as a CSV or Parquet file, or as a frame."""
    if form == "frame":
        return texts
    if form == "Parquet":
        pyarrow.parquet.write_table(pa.Table.from_pandas(texts), folder / "t.parquet", row_group_size=17)
        return folder / "t.parquet"
    texts.to_csv(folder / f"t.{form}", index=False, sep="\t" if form == "tsv" else ",")
    return folder / f"t.{form}"


def choices(gaps_in_numbers: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    some = dict.fromkeys(("x", "day", "plain", "y"), gaps_in_numbers)
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "num_rows": st.integers(45, 120),
            "number": st.sampled_from(list(NUMBERS)),
            "date": st.sampled_from(DATES),
            "labels": st.lists(st.sampled_from(LABELS), min_size=2, max_size=6, unique=True),
            "marks": st.fixed_dictionaries({}, optional=some | {"label": st.just("")}),
        }
    )


@pytest.mark.parametrize("missing", ["drop", "mean", "indicator"])
@settings(max_examples=25, deadline=None)
@given(
    chosen=choices(st.sampled_from(MARKS)),
    form=st.sampled_from(["csv", "csv.gz", "tsv", "Parquet", "frame"]),
    memory_limit=st.sampled_from([None, 0.0]),
)
def test_equals_the_cleaned_table(missing: str, chosen: dict[str, Any], form: str, memory_limit: float | None) -> None:
    clean, texts = made(chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = written(texts, form, Path(folder))
        assert_equals(path, clean, missing, memory_limit=None if form == "frame" else memory_limit)


@settings(max_examples=15, deadline=None)
@given(chosen=choices(st.sampled_from(["k.A.", "unbekannt", "x"])), form=st.sampled_from(["csv", "Parquet", "frame"]))
def test_odd_texts_for_missing(chosen: dict[str, Any], form: str) -> None:
    """A text among numbers is refused by name; the offered flags take it as missing."""
    clean, texts = made(chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = written(texts, form, Path(folder))
        odd = [name for name, mark in chosen["marks"].items() if mark and (texts[name] == mark).any()]
        if not odd:
            return
        error = refusal(path)
        for name in odd:
            mark = chosen["marks"][name]
            row = int((texts[name] == mark).to_numpy().argmax()) + 1
            assert f"column {name!r}, row {row}: {mark!r}" in str(error)
        used = sorted({chosen["marks"][name] for name in odd})
        assert_equals(path, clean, "drop", missing_values=used)
        if set(error.flags) == {"missing", "missing_values"}:
            assert (error.flags["missing"], sorted(error.flags["missing_values"])) == ("drop", used)
        solution(path, **error.flags)


NAMES = ["note 1", "note 2", "id", "x[1]", "x*", "Notes", "a", "b"]


@settings(max_examples=25, deadline=None)
@given(patterns=st.lists(st.sampled_from(["note*", "*1*", "id", "x[1]", "x*", "?", "[Nn]ote*", "a", "b"]), max_size=4))
def test_exclude(patterns: list[str]) -> None:
    """A name excludes its column, and a pattern all that match."""
    generator = np.random.default_rng(3)
    frame = pd.DataFrame(generator.normal(size=(30, len(NAMES))), columns=NAMES).assign(y=generator.normal(size=30))
    gone = {
        name
        for pattern in patterns
        for name in NAMES
        if (name == pattern if pattern in NAMES else fnmatchcase(name, pattern))
    }
    kept = [name for name in NAMES if name not in gone]
    assert list(estimates(solution(frame, exclude=patterns))) == kept
    with pytest.raises(InputError, match="there is no column 'c'"):
        solution(frame, exclude=[*patterns, "c"])


@pytest.mark.parametrize("gaps", [False, True])
def test_codes_as_categories(gaps: bool, tmp_path: Path) -> None:
    """Zip codes have the same categories from every source; codes that begin with 0 are texts."""
    generator = np.random.default_rng(5)
    frame = pd.DataFrame({"zip": generator.choice([10115, 1067, 80331], 40), "a": generator.normal(size=40).round(3)})
    frame["y"] = (generator.normal(size=40) + (frame.zip == 1067)).round(3)
    if gaps:
        frame["zip"] = frame["zip"].astype(float).where(np.arange(40) % 9 > 0)  # as pandas reads whole numbers
    flags: dict[str, Any] = {"categorical": ["zip"], "missing": "mean" if gaps else "error"}
    frame.astype({"zip": "Int64"}).to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    answers = [
        solution(source, **flags)
        for source in (frame, frame.astype({"zip": "Int64"}), tmp_path / "t.csv", tmp_path / "t.parquet")
    ]
    for answer in answers:
        assert list(estimates(answer)) == ["zip=10115", "zip=1067", "zip=80331", "a"]
        assert answer.problem.optimum.objective == answers[0].problem.optimum.objective
    frame["zip"] = [f"{value:05.0f}" if value == value else "" for value in frame["zip"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    named = estimates(solution(tmp_path / "t.csv", **flags))
    assert list(named) == ["zip=01067", "zip=10115", "zip=80331", "a"]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(2, 12),
    form=st.sampled_from(["csv", "Parquet", "frame"]),
    memory_limit=st.sampled_from([None, 0.0]),
)
def test_rare_categories(seed: int, most: int, form: str, memory_limit: float | None) -> None:
    """The most frequent categories are kept, ties by name, and all others are one."""
    generator = np.random.default_rng(seed)
    labels = [f"place {chr(97 + min(code, 25))}" for code in generator.geometric(0.2, 150)]
    frame = pd.DataFrame({"c": labels, "y": generator.normal(size=150).round(3)})
    counts = frame.c.value_counts()
    with tempfile.TemporaryDirectory() as folder:
        path = written(frame, form, Path(folder))
        flags: dict[str, Any] = {"max_categories": most, "memory_limit": None if form == "frame" else memory_limit}
        names = sorted(counts.index)
        if len(counts) > most:
            error = refusal(path, **flags)
            assert f"column 'c': has {len(counts)} categories, more than {most}" in str(error)
            assert error.flags == {"rare": "other"}
            names = [*sorted(sorted(counts.index, key=lambda name: (-counts[name], name))[: most - 1]), "other"]
        answer = solution(path, **flags, rare="other")
    assert list(estimates(answer)) == [f"c={name}" for name in names]
    means = frame.y.groupby(frame.c.where(frame.c.isin(names), "other")).transform("mean")
    assert answer.problem.optimum.objective == pytest.approx(((frame.y - means) ** 2).mean(), rel=1e-9)
