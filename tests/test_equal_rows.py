"""Rows with equal features are collapsed, and the exact pass has the same answer as by all rows."""

import math
import pickle
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.core.group_sums import GroupSums
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import Triangle
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.table import distinct_rows, distinct_values, equal_rows
from linreg_pl.data.table.distinct_rows import DistinctRows
from linreg_pl.data.table.distinct_values import DistinctValues
from linreg_pl.exact.solution import solve
from tests.forked_world import in_world
from tests.least_squares import LeastSquares


def table(seed: int, num_rows: int = 400, gaps: Sequence[str] = (), offset: float = 0.0) -> pa.Table:
    """Returns a table with few distinct rows of features, in which some values of the columns `gaps` are missing."""
    generator = np.random.default_rng(seed)
    kinds, steps, shares = (generator.integers(0, most, num_rows) for most in (4, 3, 3))
    noise = generator.standard_normal((2, num_rows))
    columns = {
        "kind": np.array(["red", "blue", "green", "grey"])[kinds],
        "step": steps,
        "share": shares / 10,
        "y": offset + kinds + 0.5 * steps + noise[0],
        "z": steps - 0.1 * shares + 1e-3 * noise[1],
        "w": generator.integers(0, 4, num_rows) / 4,
    }
    missing = {name: generator.random(num_rows) < 0.05 for name in gaps}
    return pa.table({name: pa.array(values, mask=missing.get(name)) for name, values in columns.items()})


def opened(path: Any, collapses: bool, world: World = ALONE, least: float = 0, **more: Any) -> TableDataModule:
    """Sets a table up for solve, with its equal rows collapsed or not."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(equal_rows, "LEAST_VALUES", least if collapses else math.inf)
        data = TableDataModule(path, **more)
        data.world = world
        data.setup("solve")
    return data


def assert_same(ours: Triangle, theirs: Triangle, digits: float = 1e-14) -> None:
    """Checks that two triangles are of the same rows, to rounding."""
    assert (ours.num_rows, ours.num_features) == (theirs.num_rows, theirs.num_features)
    assert ours.total_weight == pytest.approx(theirs.total_weight, rel=1e-14)
    assert ours.log_weights == pytest.approx(theirs.log_weights, rel=1e-12)
    assert ours.decimals is not None
    assert theirs.decimals is not None
    assert torch.equal(ours.decimals, theirs.decimals)
    assert ours.R.shape == theirs.R.shape
    ours, theirs = (each.centered_at(theirs.means) for each in (ours, theirs))
    lengths = torch.linalg.vector_norm(theirs.R, dim=0)
    differences = (ours.R.T @ ours.R - theirs.R.T @ theirs.R) / lengths / lengths.unsqueeze(1)
    assert float(differences[1:, 1:].abs().max()) < digits
    assert float((ours.R[0, 1:] / lengths[1:]).abs().max()) < digits  # the means


GAPS = st.lists(st.sampled_from(["kind", "step", "share", "y", "z", "w"]), unique=True, max_size=2)


@settings(max_examples=20)
@given(st.integers(0, 10**6), GAPS, st.booleans(), st.sampled_from([["y"], ["y", "z"]]), st.booleans(), st.booleans())
def test_the_same_triangle_batches_and_curvature(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    gaps: list[str],
    weighted: bool,
    target: list[str],
    streams: bool,
    holds_out: bool,
) -> None:
    unused = [name for name, is_used in (("w", weighted), ("z", "z" in target)) if not is_used]
    rows: Any = table(seed, 600, gaps).drop_columns(unused)
    path = tmp_path_factory.getbasetemp() / "equal.parquet"
    pyarrow.parquet.write_table(rows, path, row_group_size=90)
    more: dict[str, Any] = {"target": target, "batch_size": 32, "val_fraction": 0.2 * holds_out}
    more |= {"weight": "w"} if weighted else {}
    source, limit = (str(path), 0.0) if streams else (rows, None)
    ours, theirs = (opened(source, each, memory_limit=limit, **more) for each in (True, False))
    *others, line = ours.remarks
    assert line.startswith("equal rows are collapsed: ")
    assert others == theirs.remarks
    assert ours.feature_names == theirs.feature_names
    assert ours.num_rows_to_fit == theirs.num_rows_to_fit
    assert_same(ours.triangle, theirs.triangle)
    for index in range(ours.steps_per_epoch):
        for one, other in zip(ours.batch(0, index), theirs.batch(0, index), strict=True):
            assert torch.equal(one, other.to(one.dtype))
    for one, other in zip(next(ours.rows()), next(theirs.rows()), strict=True):
        assert torch.equal(one, other)
    model = LinearRegression(num_features=ours.num_features, num_targets=len(target), l2=1e-3)
    problem, expected = (solve(each, model.settings).problem for each in (ours, theirs))
    assert problem.curvature_noise == pytest.approx(expected.curvature_noise, rel=1e-11)
    assert problem.noise_bias == pytest.approx(expected.noise_bias, rel=1e-7, abs=1e-12)
    assert problem.noise_ratio == pytest.approx(expected.noise_ratio, rel=1e-11)


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("weight", [None, "w"])
def test_as_exact_as_rational_arithmetic(offset: float, weight: str | None) -> None:
    rows = table(1, 600, offset=offset)
    more: dict[str, Any] = {"exclude": ["z", *([] if weight else ["w"])], "weight": weight, "drop_first": True}
    data = opened(rows, True, target="y", **more)
    assert "equal rows" in data.remarks[-1]
    solution = optimum(data.triangle.centered_at(data.triangle.means), penalty_rows(data.num_features, 0.0))
    x, y, *weights = (torch.cat(parts) for parts in zip(*data.rows(), strict=True))
    exact = LeastSquares.of(x, y, weights[0] if weights else None, range(data.num_features))
    assert solution.W[:, 0].tolist() == pytest.approx(list(map(float, exact.slopes)), rel=1e-13)
    residual_std = float(exact.variance) ** 0.5
    assert float(statistics(solution).residual_std) == pytest.approx(residual_std, rel=1e-13)
    assert statistics(solution).standard_errors[1:, 0].tolist() == pytest.approx(exact.standard_errors, rel=1e-13)


def collapsed_triangle(path: str, world: World) -> bytes:
    data = opened(path, True, world, target="y", weight="w", exclude=["z"], memory_limit=0.0)
    return pickle.dumps((data.triangle, data.remarks[-1]))


def test_several_processes(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(table(2, 1800, gaps=["y", "step"]), tmp_path / "t.parquet", row_group_size=100)
    path = str(tmp_path / "t.parquet")
    whole, _ = pickle.loads(collapsed_triangle(path, ALONE))
    results = [pickle.loads(each) for each in in_world(3, partial(collapsed_triangle, path))]
    for triangle, line in results:
        assert torch.equal(triangle.R, results[0][0].R)
        assert_same(triangle, whole)
        assert "at most" in line


def test_other_tables_keep_their_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among them one that looks as if it had few distinct rows, by its first rows."""
    varied = np.random.default_rng(3).standard_normal((2, 4000))
    first = np.arange(4000) < 1000
    tables = [{"x": varied[0]}, {"x": np.where(first, 0, varied[0])}, {"x": [None, *varied[0][1:]]}]
    monkeypatch.setattr(equal_rows, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(distinct_rows, "MOST_ROWS", 200)
    for columns in tables:
        rows = pa.table({**columns, "y": varied[1]})
        ours, theirs = (opened(rows, each, target="y") for each in (True, False))
        assert ours.remarks == theirs.remarks
        assert torch.equal(ours.triangle.R, theirs.triangle.R)
    small = opened(table(4), True, least=10_000, target="y")
    assert torch.equal(small.triangle.R, opened(table(4), False, target="y").triangle.R)


@pytest.mark.parametrize(
    "values",
    [
        {"w": -1.0},
        {"y": math.inf},
        {"share": math.inf},
        {"w": -1.0, "step": None},
        {"y": math.inf, "z": None},
        {"y": math.inf, "kind": None},
    ],
    ids=str,
)
def test_rows_that_cannot_be_used_have_the_same_message(values: dict[str, Any]) -> None:
    columns = table(5).to_pydict()
    for name, value in values.items():
        columns[name][333] = value
    assert_same_message(pa.table(columns), "row 334")


def test_weights_of_0_have_the_same_message() -> None:
    rows = table(5)
    assert_same_message(
        rows.set_column(rows.column_names.index("w"), "w", pa.array([0.0] * 400)), "weights of all rows"
    )


def assert_same_message(rows: pa.Table, words: str) -> None:
    """Checks that a table is refused in the same words, whether its equal rows are to be collapsed or not."""
    messages = []
    for collapses in (True, False):
        with pytest.raises(Exception, match=words) as caught:
            opened(rows, collapses, target=["y", "z"], weight="w")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("lacking", ["y", "w"])
def test_category_of_rows_that_lack_another_value(lacking: str) -> None:
    columns = table(6).to_pydict()
    for row in (5, 70):
        columns["kind"][row], columns[lacking][row] = "rare", None
    ours, theirs = (opened(pa.table(columns), each, target=["y", "z"], weight="w") for each in (True, False))
    assert ours.feature_names == theirs.feature_names
    used = pa.table(columns).drop_null().select(["kind", "step", "share"]).group_by(["kind", "step", "share"])
    assert ours.remarks[-1] == f"equal rows are collapsed: {used.aggregate([]).num_rows} distinct rows of features"
    assert_same(ours.triangle, theirs.triangle)


def test_batches_of_one_feature(tmp_path: Path) -> None:
    """Its values are not those of the numbers of distinct rows, which are as many columns."""
    steps = np.arange(600) % 3 * 10.0
    pyarrow.parquet.write_table(pa.table({"x": steps, "y": steps + np.arange(600)}), tmp_path / "t.parquet")
    for limit in (0.0, None):
        more: dict[str, Any] = {"target": "y", "batch_size": 32, "memory_limit": limit}
        ours, theirs = (opened(str(tmp_path / "t.parquet"), each, **more) for each in (True, False))
        assert "equal rows" in ours.remarks[-1]
        for one, other in zip(ours.batch(0, 1), theirs.batch(0, 1), strict=True):
            assert torch.equal(one, other.to(one.dtype))


def test_tables_that_are_read_row_by_row() -> None:
    """Of many targets, or with fewer complete rows than distinct rows and targets."""
    rows = table(7).drop_columns(["z", "w"])
    many = [f"t{number}" for number in range(16)]
    for name in many:
        rows = rows.append_column(name, rows["y"])
    few = table(8).drop_columns(["w"]).to_pydict()
    few["y"] = [value if row < 20 else None for row, value in enumerate(few["y"])]
    for source, target in ((rows, [*many, "y"]), (pa.table(few), ["y", "z"])):
        ours, theirs = (opened(source, each, target=target, missing="drop", drop_first=True) for each in (True, False))
        assert not any("equal rows" in remark for remark in ours.remarks)
        assert_same(ours.triangle, theirs.triangle, 1e-13)


@pytest.mark.parametrize(("kind", "size"), [(pa.int8(), 128), (pa.uint8(), 256)])
def test_dictionaries_with_as_many_texts_as_their_codes_allow(kind: pa.DataType, size: int) -> None:
    texts, random = [f"c{number}" for number in range(size)], np.random.default_rng(0)
    codes = pa.array(random.integers(0, 50, 2000), kind, mask=np.arange(2000) % 100 == 0)
    coded = pa.DictionaryArray.from_arrays(codes, pa.array(texts))
    y = random.standard_normal(2000)
    ours, theirs = (
        opened(pa.table({"kind": column, "y": y}), collapses, target="y")
        for column, collapses in ((coded, True), (coded.dictionary_decode(), False))
    )
    assert ours.feature_names == theirs.feature_names
    assert "equal rows" in ours.remarks[-1]
    assert_same(ours.triangle, theirs.triangle, 1e-13)


VALUES = st.sampled_from([None, 0, 1, 7, -3, 2**40])


@given(
    st.lists(st.lists(st.tuples(VALUES, VALUES, st.booleans()), max_size=30), max_size=4), st.sampled_from([1, 9, 99])
)
def test_equal_rows_have_equal_numbers(batches: list[list[tuple[Any, Any, bool]]], most_at_once: int) -> None:
    """Whether one table or several give the numbers."""
    distinct, numbers = DistinctRows([pa.int64(), pa.string(), pa.bool_()]), list[int]()
    distinct.most_at_once = most_at_once
    for rows in batches:
        texts = [None if text is None else str(text) for _, text, _ in rows]
        columns = [pa.array([row[0] for row in rows], pa.int64()), pa.array(texts, pa.string())]
        numbers += distinct.numbers([*columns, pa.array([row[2] for row in rows], pa.bool_())]).tolist()
    rows = [(x, None if text is None else str(text), truth) for x, text, truth in chain(*batches)]
    assert sorted(set(numbers)) == list(range(len(set(rows)))) == list(range(len(distinct)))
    made = distinct.rows(np.array(numbers, int), ["x", "text", "truth"]).to_pylist()
    assert [tuple(row.values()) for row in made] == rows


@given(st.data(), st.sampled_from([pa.int8(), pa.uint8(), pa.int64(), pa.uint64()]))
def test_equal_integers_have_equal_numbers(data: st.DataObject, kind: pa.DataType) -> None:
    """Up to the ends of their type, and whether they are close together or not."""
    least, most = np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max
    integers = st.sampled_from([least, least + 1, least + 100, 0, 1, 90, most - 1, most])
    many = list(range(least + 28, most - 27)) if kind.bit_width == 8 else []
    batches = data.draw(st.lists(st.lists(integers, max_size=9) | st.just(many), max_size=5))
    values, numbers = DistinctValues(kind), list[int]()
    for batch in batches:
        numbers += values.numbers(pa.array(batch, kind)).tolist()
    assert values.take(np.array(numbers, int)).to_pylist() == list(chain(*batches))
    assert len(values) == len(set(chain(*batches)))


@pytest.mark.parametrize("least", [0, 2**40])
def test_threads_do_not_change_each_others_numbers(least: int) -> None:
    """Lanes of a streamed table are read by a thread each: another one may number a column between any two lines."""
    values, is_inside = DistinctValues(pa.int64()), False
    ours, theirs, longer = (pa.array(each, pa.int64()) for each in ([3, None, 5], [5, 3, None], [least + 4, 3, 5]))
    expected = [values.numbers(each).tolist() for each in (ours, theirs, longer)]

    def between(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal is_inside
        if event == "line" and not is_inside:
            is_inside = True
            assert [values.numbers(each).tolist() for each in (theirs, longer)] == expected[1:]
            is_inside = False
        return between if frame.f_code.co_filename == distinct_values.__file__ else None

    before = sys.gettrace()
    sys.settrace(between)
    try:
        numbers = values.numbers(ours).tolist()
    finally:
        sys.settrace(before)
    assert numbers == expected[0]


def test_rows_in_memory_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(equal_rows.EqualRows, "kept")
    rows = table(9, 600, gaps=["y", "step"])
    ours, theirs = (opened(rows, each, target=["y", "z"], weight="w") for each in (True, False))
    assert "equal rows" in ours.remarks[-1]
    for one, other in zip(next(ours.rows()), next(theirs.rows()), strict=True):
        assert torch.equal(one, other)


WEIGHTED = st.one_of(
    st.tuples(st.floats(-1, 1), st.sampled_from([0.0, 1.0, 2.0, 3.0])),
    st.tuples(st.sampled_from([-1e9, 1e4, 1e9]), st.sampled_from([1e-14, 1e-20, 1e-30])),  # outliers of no weight
)


@given(st.lists(st.tuples(st.integers(0, 3), WEIGHTED), min_size=1, max_size=40))
def test_sums_of_groups_are_those_of_rational_arithmetic(rows: list[tuple[int, tuple[float, float]]]) -> None:
    groups, y, w = np.array([group for group, _ in rows]), *np.array([pair for _, pair in rows]).T
    y = 1e9 + y
    sums = GroupSums(1)
    for part in np.array_split(np.arange(len(rows)), 3):
        sums.add(groups[part], y[part, None], w[part, None])
    means, weights = sums.rows(np.arange(groups.max() + 1), np.array([1e9]))
    scatter = Fraction()
    for group in range(groups.max() + 1):
        pairs = [(Fraction(a) - 10**9, Fraction(b)) for a, b, g in zip(y, w, groups, strict=True) if g == group and b]
        total = sum(b for _, b in pairs)
        assert weights[group, 0] == pytest.approx(float(total), rel=1e-14)
        mean = sum((a * b for a, b in pairs), Fraction()) / total if total else Fraction()
        size = max(1.0, *(abs(float(a)) for a, b in pairs if 8 * b > total), 0.0)
        assert means[group, 0] == pytest.approx(float(mean), abs=1e-14 * size)
        scatter += sum((b * (a - mean) ** 2 for a, b in pairs), Fraction())
    block = sums._scatter(1)
    assert float(block.square().sum()) == pytest.approx(float(scatter), rel=1e-11, abs=1e-28)
