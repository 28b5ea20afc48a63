"""Writes a formula as JSON."""

import json
from dataclasses import asdict
from typing import Any

from linreg_pl.export.formula import CategoryColumn, Formula, NumberColumn


def json_text(formula: Formula) -> str:
    """Returns the formula as JSON; lists of numbers have an entry for each target."""
    columns = ",\n  ".join(json.dumps(plain(column), ensure_ascii=False) for column in formula.columns)
    targets, intercept = json.dumps(formula.targets, ensure_ascii=False), json.dumps(formula.intercept)
    return f'{{"targets": {targets},\n "intercept": {intercept},\n "columns": [\n  {columns}]}}\n'


def plain(column: NumberColumn | CategoryColumn) -> dict[str, Any]:
    """Returns a column as plain types; null is among the values that are missing."""
    values = asdict(column)
    values["missing_values"] = [None, *values.pop("marks")]
    if isinstance(column, CategoryColumn):
        return {"name": values.pop("name"), "kind": "category", **values}
    left_out = {"mean", "indicator"} if column.unit else {"mean", "indicator", "unit"}
    return {name: value for name, value in values.items() if name not in left_out}
