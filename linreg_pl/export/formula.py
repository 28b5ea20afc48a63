"""Writes a model as a sum over the columns of a table, in the user's units, with categories and missing values.

    prediction = intercept + Σ what each column adds          each of them (K,)

A number adds `coefficients · (value - center)`. A text adds the entry of its category, or `other` if the fit has not
seen it. A missing value adds `missing`, which imputes means. Where this is None, there is no prediction.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal

import pyarrow as pa
import torch
from torch import Tensor

from linreg_pl.core.scaling import theta_of
from linreg_pl.data.columns import Columns
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.learnt import Format, Learnt
from linreg_pl.data.table.number_text import NumberFormat
from linreg_pl.errors import InputError
from linreg_pl.training.evaluation import EvaluatedModule


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, dates, times of day or truth values.

    Args:
        name: Of the column.
        kind: A date is a number of days since 1970-01-01, a time of day a fraction of a day, and true is 1.
        unit: What the fitted texts have beside each number, such as % or €; empty for nothing.
        coefficients: One for each target.
        center: Number to subtract first; 0 unless the sum would lose digits.
        missing: What a missing value adds to each target; None for no prediction.
        marks: Numbers that stand for a missing value; for dates, days.
        mean: The mean that `missing` imputes; None if there is no prediction.
        indicator: What `missing` adds besides; None for nothing.
    """

    name: str
    kind: Literal["number", "date", "time of day", "truth value"]
    unit: str
    coefficients: list[float]
    center: float
    missing: list[float] | None
    marks: list[float]
    mean: float | None
    indicator: list[float] | None


@dataclass(frozen=True)
class CategoryColumn:
    """A column of texts.

    Args:
        name: Of the column.
        categories: What each text adds to each target.
        other: What any other text adds; None for no prediction.
        missing: What a missing value adds; None for no prediction.
        marks: Texts that stand for a missing value.
    """

    name: str
    categories: dict[str, list[float]]
    other: list[float] | None
    missing: list[float] | None
    marks: list[str]


@dataclass(frozen=True, eq=False)
class Formula:
    """A model's predictions, as a sum over the columns of a table and as a product with encoded features.

    Args:
        targets: Names of the targets, (K,).
        intercept: One for each target.
        columns: What each column of the table adds.
        features: Names of the encoded features, (D,), such as `city=Ulm`.
        W: Coefficients of the encoded features, (D, K), float64.
        centers: Numbers to subtract from the encoded features first, (D,).
        means: Values to impute in the encoded features, (D,); None to impute nothing.
    """

    targets: list[str]
    intercept: list[float]
    columns: list[NumberColumn | CategoryColumn]
    features: list[str]
    W: Tensor
    centers: Tensor
    means: Tensor | None


@dataclass(frozen=True)
class Encoded:
    """Where the encoded features of a column are among all.

    Args:
        name: Of the column.
        texts: Its categories; None for numbers.
        values: The features of its value: one number, or 0 and 1 for each category but a first that is left out.
        indicator: The feature that is 1 where the value is missing; None without one.
    """

    name: str
    texts: list[str] | None
    values: slice
    indicator: int | None


def formula_of(model: EvaluatedModule) -> Formula:
    """Returns the formula of a model.

    Raises:
        InputError: the model is not trained yet.
    """
    columns, scaling, theta = model.columns, model.scaling, theta_of(model.W, model.b)
    learnt = Learnt.from_dict(columns.learnt)
    encoded = list(encoded_columns(columns, learnt))
    # x W + b loses as many digits as x is far from 0, in units of its spread: three of 16 digits here.
    is_far = scaling.means.abs() > 1000 * scaling.scales
    centers = torch.zeros_like(scaling.means)
    for each in encoded:
        if each.texts is None and is_far[each.values]:
            centers[each.values] = scaling.means[each.values]
    if model.standardize:
        theta = replace(scaling, means=scaling.means - centers).to_users(theta)
    W, intercept = theta[1:].clone(), theta[0] + scaling.target_means
    if not theta.isfinite().all() or not intercept.isfinite().all():
        raise InputError("the model has no coefficients yet: train it, or load a checkpoint")
    means = None if learnt.means is None else torch.tensor(learnt.means, dtype=torch.float64)
    terms = [table_column(each, columns, learnt, W, centers, means) for each in encoded]
    return Formula(columns.target_names, intercept.tolist(), terms, columns.feature_names, W, centers, means)


def encoded_columns(columns: Columns, learnt: Learnt) -> Iterator[Encoded]:
    """Yields where each column's encoded features are, in the order of `data.table.encoding`."""
    start, categories = 0, learnt.categories or {}
    for name in columns.feature_names if learnt.features is None else learnt.features:
        texts = categories.get(name)
        end = start + (1 if texts is None else len(texts) - int(columns.settings.get("drop_first", False)))
        has_indicator = name in (learnt.indicators or [])
        yield Encoded(name, texts, slice(start, end), end if has_indicator else None)
        start = end + has_indicator
    assert start == len(columns.feature_names)


def table_column(
    encoded: Encoded, columns: Columns, learnt: Learnt, W: Tensor, centers: Tensor, means: Tensor | None
) -> NumberColumn | CategoryColumn:
    """Returns what a column of the table adds."""
    name, texts, values = encoded.name, encoded.texts, encoded.values
    marks = list(columns.settings.get("missing_values") or [])
    indicator = None if encoded.indicator is None else W[encoded.indicator]
    missing = None
    if means is not None:
        imputed = (means[values] - centers[values]) @ W[values]
        missing = (imputed if indicator is None else imputed + indicator).tolist()
    if texts is None:
        kind, unit = kind_of(name, learnt)
        return NumberColumn(
            name,
            kind,
            unit,
            coefficients=W[values][0].tolist(),
            center=float(centers[values]),
            missing=missing,
            marks=numbers_of(marks, (learnt.formats or {}).get(name, NumberFormat())),
            mean=None if means is None else float(means[values]),
            indicator=None if indicator is None else indicator.tolist(),
        )
    effects = W[values].tolist()
    effects = [[0.0] * W.shape[1]] * (len(texts) - len(effects)) + effects  # a first category that is left out
    other = effects[-1] if name in (learnt.rest or []) else None
    if other is None and columns.settings.get("unseen") == "missing":
        other = missing
    return CategoryColumn(name, dict(zip(texts, effects, strict=True)), other, missing, ["", *marks])


def kind_of(name: str, learnt: Learnt) -> tuple[Literal["number", "date", "time of day", "truth value"], str]:
    """Returns what a column's numbers are, and the unit that the fitted texts have beside them."""
    notation = (learnt.formats or {}).get(name, NumberFormat())
    if isinstance(notation, DateFormat):
        return ("time of day" if notation.clock else "date"), ""
    return ("truth value" if name in (learnt.truths or []) else "number"), notation.prefix + notation.suffix


def numbers_of(marks: list[str], notation: Format) -> list[float]:
    """Returns the numbers or days that some marks of missing values are, in a column of this notation."""
    if isinstance(notation, DateFormat):
        days = replace(notation, missing=()).numbers(pa.array(marks, pa.string()))
        return [day for day in days.to_pylist() if day is not None]
    numbers = []
    for mark in marks:
        try:
            numbers.append(float(Decimal(mark.strip())))
        except InvalidOperation:
            continue
    return [number for number in numbers if math.isfinite(number)]
