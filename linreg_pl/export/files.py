"""Writes a model to a file in one of the formats for other programs."""

from os import PathLike
from pathlib import Path
from typing import IO

from linreg_pl.errors import InputError
from linreg_pl.export.formula import Formula, formula_of
from linreg_pl.export.json_text import json_text
from linreg_pl.export.onnx_file import onnx_bytes
from linreg_pl.export.sql_text import sql_text
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.training.evaluation import EvaluatedModule


def export(model: EvaluatedModule, file: str | PathLike[str] | IO[bytes], format: str | None = None) -> None:
    """Writes a model to a file, whole or not at all.

    Args:
        model: A trained model.
        file: The file's name, or a file that is open for writing bytes.
        format: json, sql, onnx or pt2; by default what the name ends in.

    Raises:
        InputError: there is no such format, the model is not trained, or a package is missing.
        OSError: nothing can be written there.
    """
    path = Path(file) if isinstance(file, str | PathLike) else None
    format = format or ("" if path is None else path.suffix[1:].lower())
    contents = exported(formula_of(model), format)
    if path is not None:
        path.absolute().parent.stat()  # a folder that is missing may be a typing mistake: it is not made
        write_durably(path, contents)
    elif not isinstance(file, str | PathLike):
        file.write(contents)


def exported(formula: Formula, format: str) -> bytes:
    """Returns the contents of the file.

    Raises:
        InputError: there is no such format, or a package is missing.
    """
    if format == "json":
        return json_text(formula).encode()
    if format == "sql":
        return sql_text(formula).encode()
    if format == "onnx":
        return onnx_bytes(formula)
    if format == "pt2":
        from linreg_pl.export.pt2_file import pt2_bytes  # torch.export is slow to import

        return pt2_bytes(formula)
    raise InputError(f"format is {format!r}: give json, sql, onnx or pt2")
