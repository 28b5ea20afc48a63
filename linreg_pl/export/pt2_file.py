"""Writes a formula as a program of `torch.export`, from encoded features x (N, D) to predictions (N, K), in float64.

The file's `names.json` has the names of the features and targets, and `model.json` what `json_text` writes.
"""

import io
import json

import torch
from torch import Tensor, nn

from linreg_pl.export.formula import Formula
from linreg_pl.export.json_text import json_text


class Predictor(nn.Module):
    """Predictions from encoded features: `(x - centers) W + intercept`.

    Means are imputed where x is NaN. The prediction is NaN where there is none, and where x is infinite, as for a
    category that the fit has not seen.
    """

    W: Tensor  # (D, K), float64
    intercept: Tensor  # (K,), likewise
    centers: Tensor  # (D,), likewise
    means: Tensor  # (D,), likewise; NaN if nothing is imputed

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.register_buffer("W", formula.W)
        self.register_buffer("intercept", torch.tensor(formula.intercept, dtype=torch.float64))
        self.register_buffer("centers", formula.centers)
        missing = torch.full_like(formula.centers, torch.nan)
        self.register_buffer("means", missing if formula.means is None else formula.means)

    def forward(self, x: Tensor) -> Tensor:
        """Returns predictions (N, K) from x (N, D)."""
        x = torch.where(x.isnan(), self.means, x)
        x = torch.where(x.isinf(), torch.nan, x)
        return (x - self.centers) @ self.W + self.intercept


def pt2_bytes(formula: Formula) -> bytes:
    """Returns the program, for any number of rows."""
    example = torch.zeros(2, len(formula.W), dtype=torch.float64)
    rows = {0: torch.export.Dim("rows", min=0)}
    program = torch.export.export(Predictor(formula), (example,), dynamic_shapes=(rows,))
    names = {"features": formula.features, "targets": formula.targets}
    extra_files = {"names.json": json.dumps(names, ensure_ascii=False), "model.json": json_text(formula)}
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=extra_files)
    return file.getvalue()
