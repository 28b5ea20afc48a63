"""Tables of more columns than rows: the work grows with the columns, not with their cube."""

import pytest
import torch

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.pseudo_inverse import PseudoInverse
from linreg_pl.core.scaling import standardization
from linreg_pl.core.triangle import center_of, triangle_of, upper_triangle
from linreg_pl.data.table.encoding import require_columns


def rows(num_rows: int, num_features: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_features)
    drawn = torch.randn(num_rows, num_features + 1, generator=generator, dtype=torch.float64)
    return drawn[:, 1:] * torch.arange(1, num_features + 1), drawn[:, :1]


def test_shortest_solution() -> None:
    """Compares with NumPy's pseudo-inverse of the centered columns, in units of their deviations."""
    x, y = rows(20, 60)
    triangle = triangle_of([(x, y)], center_of(x, y))
    scaling = standardization(triangle, True)
    solution = optimum(triangle, penalty_rows(60, 0.0), units=scaling.scales)
    deviations = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    expected = torch.linalg.pinv(deviations) @ (y - y.mean(dim=0)) / x.std(dim=0, correction=0).unsqueeze(1)
    torch.testing.assert_close(solution.W, expected, rtol=1e-10, atol=1e-14)
    assert solution.null.shape == (61, 60 - 19)
    assert float((triangle.R[:, :61] @ solution.null).abs().max()) < 1e-10
    factor = solution.factor_of(scaling.centered)
    gram = (solution.factor @ scaling.centered.matrix).T @ (solution.factor @ scaling.centered.matrix)
    torch.testing.assert_close(factor.T @ factor, gram, rtol=1e-9, atol=1e-12)


def test_triangle_of_few_rows() -> None:
    x, _ = rows(5, 12)
    R = upper_triangle(x)
    assert R.shape == (12, 12)
    assert not R[5:].any()
    torch.testing.assert_close(R.T @ R, x.T @ x)


def test_size_of_the_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decomposes as many rows as there are, whatever the columns."""
    shapes, svd = [], torch.linalg.svd

    def noting(matrix: torch.Tensor, **flags: bool) -> object:
        shapes.append(tuple(matrix.shape))
        return svd(matrix, **flags)

    monkeypatch.setattr(torch.linalg, "svd", noting)
    x, _ = rows(7, 300)
    PseudoInverse(upper_triangle(x), torch.full((300,), 1e-12, dtype=torch.float64))
    assert shapes == [(7, 300)]


def test_comparisons_of_names() -> None:
    """Compares each name a few times, not with every other."""

    class Name(str):
        comparisons = 0

        def __eq__(self, other: object) -> bool:
            Name.comparisons += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    columns = [Name(f"x{index}") for index in range(2000)]
    require_columns("table", columns, [Name(name) for name in columns], "--data.features")
    assert Name.comparisons < 5 * len(columns)
