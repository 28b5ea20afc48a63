"""The triangles of folds: each has its fold's rows, and the merged ones those of the others."""

import pytest
import torch
from torch import Tensor

from linreg_pl.core.folds import Folds, fold_triangles, merged
from linreg_pl.core.triangle import Triangle, triangle_of


def rows(num_rows: int, seed: int = 0, weighted: bool = True) -> tuple[Tensor, ...]:
    """Draws x (n, 3) with means of 1e4, y (n, 2), and weights with zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = 1e4 + torch.randn(num_rows, 3, dtype=torch.float64, generator=generator)
    y = x[:, :2] + torch.randn(num_rows, 2, dtype=torch.float64, generator=generator)
    weights = torch.randint(0, 4, (num_rows, 1), generator=generator).double()
    return (x, y, weights) if weighted else (x, y)


def assert_same_rows(ours: Triangle, expected: Triangle) -> None:
    """Checks that two triangles have the same Gram matrix about the means, and the same counts."""
    moved = ours.centered_at(expected.means).R
    gram, expected_gram = (R.T @ R for R in (moved, expected.centered_at(expected.means).R))
    torch.testing.assert_close(gram, expected_gram, rtol=1e-10, atol=1e-10 * float(expected_gram.abs().max()))
    assert (ours.num_rows, ours.total_weight) == (expected.num_rows, expected.total_weight)


@pytest.mark.parametrize("num_rows", [40, 30_000], ids=["by Householder", "by Cholesky"])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_fold_has_its_rows(num_rows: int, weighted: bool) -> None:
    tensors = rows(num_rows, weighted=weighted)
    numbers = torch.arange(num_rows) * 7 % 4
    half = num_rows // 2
    chunks = [(*(t[part] for t in tensors), numbers[part]) for part in (slice(half), slice(half, None))]
    triangles = fold_triangles(chunks, 4, tensors[0].new_full((5,), 1e4))
    for fold, triangle in enumerate(triangles):
        assert_same_rows(triangle, triangle_of([tuple(t[numbers == fold] for t in tensors)]))
    for fold, training in enumerate(Folds(triangles).training):
        assert_same_rows(training, triangle_of([tuple(t[numbers != fold] for t in tensors)]))
    assert_same_rows(Folds(triangles).whole, triangle_of([tensors]))


def test_folds_in_order_train_on_earlier_rows() -> None:
    tensors, numbers = rows(40), torch.arange(40) // 10
    folds = Folds(fold_triangles([(*tensors, numbers)], 4), in_order=True)
    assert len(folds.training) == len(folds.held_out) == 3
    for fold, (training, held_out) in enumerate(zip(folds.training, folds.held_out, strict=True), 1):
        assert_same_rows(training, triangle_of([tuple(t[numbers < fold] for t in tensors)]))
        assert_same_rows(held_out, triangle_of([tuple(t[numbers == fold] for t in tensors)]))


def test_two_folds_train_on_each_other() -> None:
    tensors, numbers = rows(40), torch.arange(40) % 2
    first, second = Folds(fold_triangles([(*tensors, numbers)], 2)).training
    assert_same_rows(first, triangle_of([tuple(t[1::2] for t in tensors)]))
    assert_same_rows(second, triangle_of([tuple(t[::2] for t in tensors)]))


def test_more_chunks_than_are_merged_at_once() -> None:
    tensors, numbers = rows(200), torch.arange(200) % 3
    chunks = [(*(t[start : start + 10] for t in tensors), numbers[start : start + 10]) for start in range(0, 200, 10)]
    for fold, triangle in enumerate(fold_triangles(chunks, 3)):
        assert_same_rows(triangle, triangle_of([tuple(t[numbers == fold] for t in tensors)]))


def test_merging_few_rows_of_many_columns() -> None:
    x, y = torch.randn(9, 20).double(), torch.randn(9, 1).double()
    whole = merged([triangle_of([(x[start : start + 3], y[start : start + 3])]) for start in range(0, 9, 3)])
    assert whole.R.shape == (9, 22)
    assert_same_rows(whole, triangle_of([(x, y)]))


def test_threads_change_no_bit() -> None:
    tensors, numbers = rows(300_000, weighted=False), torch.arange(300_000) % 5
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fold_triangles([(*tensors, numbers)], 5)
        torch.set_num_threads(3)
        together = fold_triangles([(*tensors, numbers)], 5)
    finally:
        torch.set_num_threads(num_threads)
    assert all(torch.equal(one.R, other.R) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("lacking", ["rows", "weight"])
def test_empty_fold(lacking: str) -> None:
    x, y, weights = rows(30)
    numbers = torch.arange(30) % 3
    numbers, weights = (numbers % 2, weights) if lacking == "rows" else (numbers, weights * (numbers != 2).unsqueeze(1))
    with pytest.raises(ValueError, match="1 of 3 folds"):
        fold_triangles([(x, y, weights, numbers)], 3)
