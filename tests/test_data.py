"""Tests the order and the noise of batches, and that they depend only on (seed, epoch, index)."""

import math
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linreg_pl import InputError, SyntheticDataModule, TableDataModule
from linreg_pl.data.loaders import ConsecutiveSlices
from linreg_pl.data.prefetch import prefetched
from linreg_pl.data.table.order import LARGE_TABLE_ROWS, row_order
from tests.waiting import PATIENCE

seeds = st.integers(0, 2**40)


@given(num_rows=st.integers(1, 60), batch_share=st.floats(0, 1), seed=seeds, epoch=st.integers(0, 3000), data=st.data())
def test_synthetic_batch_is_pure_function(
    num_rows: int, batch_share: float, seed: int, epoch: int, data: st.DataObject
) -> None:
    batch_size = max(1, round(batch_share * num_rows))
    rows = SyntheticDataModule(num_rows, batch_size, seed=seed)
    index = data.draw(st.integers(0, rows.steps_per_epoch - 1))
    x, y = rows.batch(epoch, index)
    np.random.seed(epoch)
    torch.manual_seed(epoch)
    random.seed(epoch)
    fresh = SyntheticDataModule(num_rows, batch_size, seed=seed)
    fresh.batch(epoch + 1, 0)
    again_x, again_y = fresh.batch(epoch, index)
    assert torch.equal(x, again_x)
    assert torch.equal(y, again_y)


def test_synthetic_rows_keep_order() -> None:
    rows = SyntheticDataModule(num_rows=23, batch_size=5)
    assert rows.steps_per_epoch == len(rows.train_dataloader()) == 4
    x = torch.cat([x for x, _ in rows.train_dataloader()])
    assert x.dtype == torch.float32
    assert x.shape == (20, 1)
    assert x.flatten().tolist() == list(range(20))


def test_synthetic_noise_is_new_and_normal() -> None:
    """Uses 400 epochs of 500 rows near x = 0, where float32 keeps the digits of the noise."""
    rows = SyntheticDataModule(num_rows=1000, batch_size=500)
    noise = torch.stack(
        [(y.double() - 3.657 * x.double()).flatten() for epoch in range(400) for x, y in [rows.batch(epoch, 0)]]
    )
    num_draws = noise.numel()
    assert noise.mean().item() == pytest.approx(0, abs=5 * 0.33 / math.sqrt(num_draws))
    assert noise.std().item() == pytest.approx(0.33, rel=5 / math.sqrt(2 * num_draws))
    beyond_two_std = (noise.abs() > 0.66).double().mean().item()
    assert beyond_two_std == pytest.approx(math.erfc(math.sqrt(2)), rel=0.05), "not truncated, not uniform"
    correlation = np.corrcoef(noise.numpy())[np.triu_indices(400, k=1)]
    assert np.abs(correlation).max() < 6 / math.sqrt(500), "no two epochs share their noise"


def test_synthetic_epoch_ignores_batch_size() -> None:
    whole, halves = (SyntheticDataModule(num_rows=40, batch_size=size, seed=2) for size in (40, 20))
    assert torch.equal(whole.batch(3, 0)[1], torch.cat([halves.batch(3, 0)[1], halves.batch(3, 1)[1]]))


def test_synthetic_y_uses_float64() -> None:
    x, y = SyntheticDataModule(noise_std=0.0).batch(0, 1)
    assert y.flatten().tolist() == (3.657 * np.arange(5000, 10_000)).astype(np.float32).tolist()
    assert y.flatten().tolist() != (np.float32(3.657) * x.flatten().numpy()).tolist()


def test_held_out_noise_differs() -> None:
    rows = SyntheticDataModule(num_rows=100, batch_size=100)
    ((_, validation),), ((_, test),) = rows.val_dataloader(), rows.test_dataloader()
    trained = [rows.batch(epoch, 0)[1] for epoch in range(50)]
    assert not torch.equal(validation, test)
    assert all(not torch.equal(y, held_out) for y in trained for held_out in (validation, test))


@given(num_rows=st.integers(1, 200), seed=seeds, epoch=st.integers(0, 1000))
def test_row_order_is_new_each_epoch(num_rows: int, seed: int, epoch: int) -> None:
    order = row_order(seed, epoch, num_rows)
    assert sorted(order.tolist()) == list(range(num_rows))
    row_order(seed, epoch + 1, num_rows)
    assert torch.equal(order, row_order(seed, epoch, num_rows))
    if num_rows > 50:  # 1 of 50! orders
        assert not torch.equal(order, row_order(seed, epoch + 1, num_rows))
        assert not torch.equal(order, row_order(seed + 1, epoch, num_rows))


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Writes a table whose feature is the row's number; both targets are functions of it."""
    path = tmp_path / "counted.csv"
    path.write_text("row,double,negative\n" + "".join(f"{n},{2 * n},{-n}\n" for n in range(103)))
    return path


def test_epoch_takes_each_row_once(counted: Path) -> None:
    table = TableDataModule(str(counted), ["double", "negative"], batch_size=10, seed=3)
    table.setup("fit")
    assert (table.num_features, table.num_targets, table.steps_per_epoch) == (1, 2, 10)
    batches = [table.batch(7, index) for index in range(10)]
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    assert x.shape == (100, 1)
    assert y.shape == (100, 2)
    assert len(set(x.flatten().tolist())) == 100, "no row occurs twice; the last three rows are dropped"
    assert torch.equal(y, torch.cat([2 * x, -x], dim=1)), "targets stay in their row"


def test_unshuffled_table_keeps_order(counted: Path) -> None:
    table = TableDataModule(str(counted), "double", batch_size=10, shuffle=False, features=["row"])
    table.setup("fit")
    assert [x.flatten().tolist() for x, _ in table.train_dataloader()][1] == list(range(10, 20))


def test_split_is_stable_and_complete(counted: Path) -> None:
    def split(seed: int) -> tuple[set[float], set[float]]:
        table = TableDataModule(str(counted), "double", features=["row"], val_fraction=0.3, seed=seed)
        table.setup("fit")
        (held_out,) = (x for x, _ in table.val_dataloader())
        return set(table.batch(0, 0)[0].flatten().tolist()), set(held_out.flatten().tolist())

    fitted, held_out = split(seed=1)
    assert fitted | held_out == set(range(103))
    assert not fitted & held_out
    assert 15 <= len(held_out) <= 47, "31 expected, standard deviation 4.7"
    assert split(seed=1) == (fitted, held_out)
    assert split(seed=2) != (fitted, held_out)


def test_evaluation_keeps_row_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linreg_pl.data.loaders.EVALUATION_BATCH_SIZE", 4)
    slices = ConsecutiveSlices(torch.arange(10))
    assert [batch.tolist() for (batch,) in slices] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(slices) == 3


def test_checkpoint_columns_must_match(counted: Path) -> None:
    fitted = TableDataModule(str(counted), "double")
    fitted.setup("fit")
    state = fitted.state_dict()
    TableDataModule(str(counted), "double").load_state_dict(state)
    with pytest.raises(InputError, match=r"fitted with feature_names 'row', 'negative' where .* has 'negative', 'row'"):
        TableDataModule(str(counted), "double", features=["negative", "row"]).load_state_dict(state)
    many = [str(index) for index in range(500)]
    other = TableDataModule(str(counted), "double", features=["row"])
    other.setup("fit")
    with pytest.raises(InputError, match=r"'7' and 492 more where the data has 'row';") as refused:
        other.load_state_dict(state | {"feature_names": many})
    assert len(str(refused.value)) < 300


def test_large_row_order_is_uniform() -> None:
    """Checks that the rows in the first, middle and last tenth are uniformly distributed."""
    orders = torch.stack([row_order(0, epoch, LARGE_TABLE_ROWS + 7) for epoch in range(40)])
    assert torch.equal(orders.sort(dim=1).values[-1], torch.arange(LARGE_TABLE_ROWS + 7))
    tenth = LARGE_TABLE_ROWS // 10
    for section in (orders[:, :tenth], orders[:, 4 * tenth : 5 * tenth], orders[:, -tenth:]):
        counts = torch.histc(section.float(), bins=64, min=0, max=LARGE_TABLE_ROWS + 7)
        expected = section.numel() / 64
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert 25 < chi_squared < 120  # with 63 degrees of freedom: 63 ± 11
    neighbours = (orders[:, 1:] - orders[:, :-1]).abs() == 1
    assert neighbours.sum() < 40 * 2 * 3  # two are expected in each order


def test_prefetch_can_stop_any_time() -> None:
    """Closes the iterator while its thread still waits for an item."""
    reading, may_go_on = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        reading.set()
        may_go_on.wait()
        yield 1

    iterator = prefetched(items())
    assert next(iterator) == 0
    reading.wait()
    leaving = threading.Thread(target=iterator.close, daemon=True)  # type: ignore[attr-defined]
    leaving.start()
    leaving.join(PATIENCE)
    may_go_on.set()
    assert not leaving.is_alive()
