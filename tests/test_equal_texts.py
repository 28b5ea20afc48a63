"""Equal texts of a column are looked at once: as codes of a Parquet file's dictionary, or plainly."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import given
from hypothesis import strategies as st

from linreg_pl.data.progress import unwatched
from linreg_pl.data.table.files import File
from linreg_pl.data.table.row_groups import ParquetTable
from linreg_pl.data.table.text_column import TextColumn
from linreg_pl.data.table.verdicts import TextRules

TEXTS = st.sampled_from(
    ["red", "blue", "12", "1,5", "1.5", " ", "NA", "-", "2024-01-05", "05/06/2024", "18-65", "3 kg"]
)


def seen(batches: list[pa.Array]) -> TextColumn:
    column, first = TextColumn(TextRules(max_categories=5)), 0
    for batch in batches:
        column.add(batch, first)
        first += len(batch)
    column.verdict()
    return column


@given(st.lists(TEXTS | st.none(), min_size=1, max_size=40), st.integers(1, 7))
def test_codes_and_single_rows_have_the_verdict_of_the_texts(texts: list[str | None], size: int) -> None:
    plain = pa.array(texts, pa.string())
    labels = ["unused", *dict.fromkeys(reversed(texts))]  # null is one of them
    indices = pa.array([labels.index(text) for text in texts])
    codes = pa.DictionaryArray.from_arrays(indices, pa.array(labels, pa.string()))
    one_by_one = seen([plain.slice(row, 1) for row in range(len(plain))])
    for column in (seen([plain]), seen([codes]), seen([codes.slice(row, size) for row in range(0, len(codes), size)])):
        assert vars(column)["_tallies"] == vars(one_by_one)["_tallies"]
        assert column._distinct.counts == one_by_one._distinct.counts
        assert np.array_equal(column._distinct._smallest, one_by_one._distinct._smallest)
        assert column.verdict() == one_by_one.verdict()
        assert (column.num_rows, column.num_missing) == (one_by_one.num_rows, one_by_one.num_missing)


def test_a_parquet_file_gives_codes_of_few_texts_only_where_they_are_asked_for(tmp_path: Path) -> None:
    rows = pa.table({"few": ["a", "b"] * 5000, "many": [f"text {row}" for row in range(10_000)], "x": range(10_000)})
    pa.parquet.write_table(rows, tmp_path / "table.parquet", row_group_size=3000)
    table = ParquetTable([File(tmp_path / "table.parquet", {})], rows.schema, unwatched)
    coded = pa.Table.from_batches([batch for _, batch in table.all_batches(rows.column_names, keeps_codes=True)])
    assert [pa.types.is_dictionary(each.type) for each in coded.schema] == [True, False, False]
    assert coded.cast(rows.schema).equals(rows)
    assert pa.Table.from_batches([batch for _, batch in table.all_batches(rows.column_names)]).equals(rows)
