"""Rows that have changed since they were fitted: what the fit has not seen is refused, or left out with a note."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

import linreg_pl
from linreg_pl.errors import InputError
from tests.commands import linreg
from tests.runs import RUN

NUM_ROWS = 40
ROW = 7
"""The row that changes."""

Values = dict[str, Any]


def rows(**changed: Any) -> pa.Table:
    """Returns the rows, with other values in one of them."""
    columns: dict[str, list[Any]] = {
        "a": [float(row % 5) for row in range(NUM_ROWS)],
        "c": ["xyz"[row % 3] for row in range(NUM_ROWS)],
        "y": [float(row % 7) for row in range(NUM_ROWS)],
    }
    for name, value in changed.items():
        columns[name][ROW] = value
    return pa.table(columns)


def read(table: pa.Table, state: Values | None = None, **settings: Any) -> linreg_pl.TableDataModule:
    data = linreg_pl.TableDataModule(table, "y", **settings)
    if state is not None:
        data.adopt(state)
    data.setup("fit")
    return data


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize("missing", ["error", None, "drop", "mean", "indicator"])
@pytest.mark.parametrize("changed", [{"c": "w"}, {"c": "w", "a": None}], ids=["complete", "incomplete"])
def test_unseen_category(missing: str | None, memory_limit: float | None, changed: Values) -> None:
    """It may only be in a row that is dropped anyway; a row that lacks a feature is not, where means are imputed."""
    settings: Values = {"missing": missing, "memory_limit": memory_limit}
    state = read(rows(), **settings).state_dict()
    if "a" in changed and missing in (None, "drop"):
        data = read(rows(**changed), state, **settings)
        assert data.num_rows_to_fit == NUM_ROWS - 1
        assert data.remarks == [f"dropped 1 of {NUM_ROWS} rows to fit, with a missing value"]
    else:
        with pytest.raises(InputError, match=f"column 'c', row {ROW + 1}: 'w' is none of the 3 categories"):
            read(rows(**changed), state, **settings)


@pytest.mark.parametrize("missing", [None, "drop", "mean", "indicator"])
def test_same_rows_again(missing: str | None) -> None:
    """A category that only a dropped row has is none of the fit's, and no reason to refuse the rows later."""
    table = rows(c="w", y=None)
    first = read(table, missing=missing)
    again = read(table, first.state_dict(), missing=missing)
    assert again.feature_names == first.feature_names
    assert again.num_rows_to_fit == first.num_rows_to_fit == NUM_ROWS - 1
    assert again.fingerprint == first.fingerprint


def test_offered_command_resumes(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    flags = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--trainer.max_epochs", "2")
    pyarrow.csv.write_csv(rows(), file)
    assert linreg("fit", *flags, cwd=tmp_path).code == 0
    pyarrow.csv.write_csv(rows(c="w"), file)
    refused = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "4", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    *_, works, command = refused.stderr.splitlines()
    assert works == "This works:"
    resumed = linreg(*command.split()[1:], cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert f"dropped 1 of {NUM_ROWS} rows to fit, with a missing or unseen value" in resumed.stdout
    assert "step=4.ckpt" in resumed.stdout


def test_changed_contents_name_their_remedy(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    flags = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--trainer.max_epochs", "2")
    pyarrow.csv.write_csv(rows(), file)
    assert linreg("fit", *flags, cwd=tmp_path).code == 0
    pyarrow.csv.write_csv(rows(a=9.5), file)
    longer = ("fit", "--resume", str(RUN), "--trainer.max_epochs", "4")
    refused = linreg(*longer, cwd=tmp_path)
    assert refused.stderr.endswith("to go on unchanged, restore the rows\n")
    refused = linreg(*longer, "--model.momentum", "0.5", cwd=tmp_path)
    assert refused.stderr.endswith("to go on unchanged, leave them out and restore the rows\n")
