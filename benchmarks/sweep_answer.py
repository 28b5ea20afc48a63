"""Compares coefficients with an independent answer: pandas reads the same file, and NumPy's SVD solves least squares.

A coefficient's distance is |coefficient - answer| / standard error, of coefficients that the data determine. Where none
is determined, or the fit is perfect, `missed` still compares predictions: the norm of their difference over the norm of
the centered target.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

INTERCEPT = "(intercept)"
"""The name of b; a feature may be called b."""


@dataclass(frozen=True)
class Answer:
    """The least-squares solution of least norm in scaled columns, in the table's units.

    Args:
        W: (P,).
        b: The intercept.
        errors: Standard errors of W and then b (P + 1,); NaN where the data do not determine the coefficient.
    """

    W: np.ndarray
    b: float
    errors: np.ndarray


class Table:
    """A CSV file's columns of texts.

    Args:
        path: The file.
        missing: Texts that stand for a missing value, beside pandas' own.
    """

    def __init__(self, path: Path, missing: Sequence[str] = ()) -> None:
        texts = pd.read_csv(path, dtype=str, na_values=list(missing))
        self._texts = texts.where(texts.apply(lambda column: column.str.strip()) != "")  # blanks are missing

    def rows(self, names: Sequence[str], target: str, imputes: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Returns x (N, P) of the columns that the program names, and y (N,).

        Rows with a missing value are left out, or with `imputes` only those without a target.

        Raises:
            ValueError: if a column has another name or other values than numbers, categories and dates.
        """
        y = numbers(self._texts[target]).dropna()
        x = pd.concat([self._feature(name, names) for name in names], axis=1, keys=names).loc[y.index]
        x = x.fillna(x.mean()) if imputes else x
        complete = x.notna().all(axis=1)
        return x[complete].to_numpy(), y[complete].to_numpy()

    def _feature(self, name: str, names: Sequence[str]) -> pd.Series:
        """Returns a column of numbers, or for a name such as `color=red` the rows of this category.

        `color=other` also has the rows of categories without a name.
        """
        if name in self._texts:
            return numbers(self._texts[name])
        for column, texts in self._texts.items():
            if name.startswith(f"{column}="):
                labels = f"{column}=" + texts
                is_other = ~labels.isin(names) if name == f"{column}=other" else False
                return ((labels == name) | is_other).astype(float).where(texts.notna())
        raise ValueError(f"no column is named {name}")


def numbers(texts: pd.Series) -> pd.Series:
    """Reads numbers, truth values, days since 1970-01-01 or parts of a day; what has no letter or digit is missing."""
    texts = texts.where(texts.str.contains(r"\w", na=False))
    known = texts.dropna()
    for parse in (number, truth_value):
        try:
            return known.map(parse).astype(float).reindex(texts.index)
        except (ValueError, KeyError):
            continue
    if known.str.fullmatch(r"\d?\d:\d\d(:\d\d)?").all():
        clock = known.str.split(":", expand=True).astype(float)
        return (clock @ [1 / 24, 1 / 1440, 1 / 86400][: clock.shape[1]]).reindex(texts.index)
    for form in ("ISO8601", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y", "%d-%b-%Y", "%d-%b-%y", "%m/%d/%Y %H:%M"):
        dates = pd.to_datetime(known, utc=True, format=form, errors="coerce")
        if dates.notna().all():
            days: pd.Series = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
            return days.reindex(texts.index)
    raise ValueError(f"no numbers and no dates: {texts.name}")


def number(text: str) -> float:
    """Reads a number with thousands separators, a percent sign or a currency."""
    return float(text.replace("\u2212", "-").replace(",", "").strip("%$€£¥ "))


def truth_value(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def least_squares(x: np.ndarray, y: np.ndarray) -> Answer:
    """Minimizes ‖y - xW - b‖ for x (N, P) and y (N,), over centered columns of unit variance."""
    x_mean, x = centered(x)
    y_mean, y = centered(y)
    scale = np.sqrt(np.mean(x**2, axis=0))
    size = np.abs(x_mean) + np.abs(x).max(axis=0)
    constant = scale <= 4 * np.finfo(float).eps * size
    scale[constant], x[:, constant] = 1.0, 0.0
    r = np.asarray(np.linalg.qr(np.column_stack([x / scale, y]), mode="r"))
    u, s, vt = np.linalg.svd(r[:, :-1], full_matrices=False)
    rounding = max(1e-13, 8 * np.finfo(float).eps * float((size / scale)[~constant].max(initial=0)))
    rank = int(np.sum(s > rounding * s[0]))
    half = vt[:rank].T / s[:rank]  # (P, rank): half half' is the pseudo-inverse of x'x
    W = half @ (u.T @ r[:, -1])[:rank]
    free, residual = len(y) - 1 - rank, float(np.linalg.norm(r[:, -1] - r[:, :-1] @ W))
    is_perfect = free <= 0 or residual <= 1e-9 * np.linalg.norm(y)
    noise = math.nan if is_perfect else residual / math.sqrt(free)
    means = x_mean / scale
    b_error = math.hypot(1 / math.sqrt(len(y)), *(means @ half))
    errors = noise * np.append(np.linalg.norm(half, axis=1) / scale, b_error)
    determined = vt[:rank].T @ vt[:rank]  # the projection onto the row space
    b_outside = np.linalg.norm(means - determined @ means) / max(np.linalg.norm(means), np.finfo(float).tiny)
    outside = np.append(1 - np.diag(determined), b_outside)
    errors[(outside > 1e-8) | ~(errors > 0)] = np.nan
    W = W / scale
    return Answer(W, float(y_mean - x_mean @ W), errors)


def centered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means and the differences from them, centered twice because the first mean is rounded."""
    first = values.mean(axis=0)
    rest = (values - first).mean(axis=0)
    return first + rest, values - first - rest


def distance(coefficients: Mapping[str, float], answer: Answer) -> tuple[float, str] | None:
    """Returns the largest distance and its coefficient's name; `coefficients` end with b. None if none is known."""
    off = np.abs(np.array(list(coefficients.values())) - np.append(answer.W, answer.b)) / answer.errors
    return None if np.isnan(off).all() else (float(np.nanmax(off)), list(coefficients)[int(np.nanargmax(off))])


def missed(coefficients: Mapping[str, float], answer: Answer, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the norm of the predictions' difference, over that of the centered target."""
    *W, b = coefficients.values()
    x_mean, centered_x = centered(x)
    at_mean = b + x_mean @ W - (answer.b + x_mean @ answer.W)
    return float(np.linalg.norm(centered_x @ (W - answer.W) + at_mean) / np.linalg.norm(centered(y)[1]))
