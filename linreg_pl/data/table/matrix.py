"""Turns arrays, tensors and lists into matrices that Arrow reads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from linreg_pl.errors import InputError


def as_matrix(values: Any, label: str) -> np.ndarray:
    """Returns an array (N, D); a one-dimensional one becomes a column, and what a mask hides is missing.

    Raises:
        InputError: it has another shape, or no numbers.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    if hasattr(values, "toarray"):
        raise InputError(f"{label} is sparse: convert it with {label}.toarray()")
    if np.ma.is_masked(values):
        nothing = np.nan if values.dtype.kind == "f" else None
        values = np.where(np.ma.getmaskarray(values), nothing, values.data)
    try:
        matrix = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{label} has rows of different lengths: give an array (N, D)") from error
    if matrix.dtype.kind == "c":
        raise InputError(f"{label} has complex numbers: give real ones, such as {label}.real and {label}.imag")
    if matrix.ndim == 1:
        matrix = matrix[:, np.newaxis]
    if matrix.ndim != 2:
        kind = f"shape {matrix.shape}" if matrix.ndim else f"type {type(values).__name__}"
        remedy = f"; a frame is pandas.DataFrame({label})" if isinstance(values, Mapping) else ""
        remedy = f"; collect it: {label}.collect()" if hasattr(values, "collect") else remedy
        raise InputError(f"{label} has {kind}: give an array (N, D), a frame, or the path of a file{remedy}")
    if matrix.dtype == np.float16:
        return matrix.astype(np.float32)
    # Arrow reads neither a longer float nor another byte order than the processor's.
    return matrix.astype(np.float64 if matrix.dtype == np.longdouble else matrix.dtype.newbyteorder("="), copy=False)
