"""Batches: their order, their noise, and that they depend on (seed, epoch, index) alone."""

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

seeds = st.integers(0, 2**40)


@given(num_rows=st.integers(1, 60), batch_share=st.floats(0, 1), seed=seeds, epoch=st.integers(0, 3000), data=st.data())
def test_synthetic_batch_is_a_pure_function_of_its_position(
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


def test_synthetic_rows_keep_their_order_and_the_remainder_is_dropped() -> None:
    rows = SyntheticDataModule(num_rows=23, batch_size=5)
    assert rows.steps_per_epoch == len(rows.train_dataloader()) == 4
    x = torch.cat([x for x, _ in rows.train_dataloader()])
    assert x.dtype == torch.float32
    assert x.shape == (20, 1)
    assert x.flatten().tolist() == list(range(20))


def test_synthetic_noise_is_new_at_every_epoch_and_normal() -> None:
    """0.33 ε around 3.657 x, over 40 epochs of 10 000 rows near x = 0, where float32 keeps the noise's digits."""
    rows = SyntheticDataModule(num_rows=1000, batch_size=500)
    noise = torch.stack(
        [(y.double() - 3.657 * x.double()).flatten() for epoch in range(400) for x, y in [rows.batch(epoch, 0)]]
    )
    num_draws = noise.numel()
    assert noise.mean().item() == pytest.approx(0, abs=5 * 0.33 / math.sqrt(num_draws))
    assert noise.std().item() == pytest.approx(0.33, rel=5 / math.sqrt(2 * num_draws))
    beyond_two = (noise.abs() > 0.66).double().mean().item()
    assert beyond_two == pytest.approx(math.erfc(math.sqrt(2)), rel=0.05), "not truncated, not uniform"
    correlation = np.corrcoef(noise.numpy())[np.triu_indices(400, k=1)]
    assert np.abs(correlation).max() < 6 / math.sqrt(500), "no two epochs share their noise"


def test_synthetic_epoch_is_the_same_data_in_any_batches() -> None:
    whole, halves = (SyntheticDataModule(num_rows=40, batch_size=size, seed=2) for size in (40, 20))
    assert torch.equal(whole.batch(3, 0)[1], torch.cat([halves.batch(3, 0)[1], halves.batch(3, 1)[1]]))


def test_synthetic_y_is_formed_in_float64() -> None:
    x, y = SyntheticDataModule(noise_std=0.0).batch(0, 1)
    assert y.flatten().tolist() == (3.657 * np.arange(5000, 10_000)).astype(np.float32).tolist()
    assert y.flatten().tolist() != (np.float32(3.657) * x.flatten().numpy()).tolist()


def test_held_out_noise_is_none_that_training_meets() -> None:
    rows = SyntheticDataModule(num_rows=100, batch_size=100)
    ((_, validation),), ((_, test),) = rows.val_dataloader(), rows.test_dataloader()
    trained = [rows.batch(epoch, 0)[1] for epoch in range(50)]
    assert not torch.equal(validation, test)
    assert all(not torch.equal(y, held_out) for y in trained for held_out in (validation, test))


@given(num_rows=st.integers(1, 200), seed=seeds, epoch=st.integers(0, 1000))
def test_row_order_is_a_permutation_of_its_own_for_each_epoch(num_rows: int, seed: int, epoch: int) -> None:
    order = row_order(seed, epoch, num_rows)
    assert sorted(order.tolist()) == list(range(num_rows))
    row_order(seed, epoch + 1, num_rows)
    assert torch.equal(order, row_order(seed, epoch, num_rows))
    if num_rows > 50:  # 1 of 50! orders
        assert not torch.equal(order, row_order(seed, epoch + 1, num_rows))
        assert not torch.equal(order, row_order(seed + 1, epoch, num_rows))


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A table whose feature is the row's number and whose two targets are functions of it."""
    path = tmp_path / "counted.csv"
    path.write_text("row,double,negative\n" + "".join(f"{n},{2 * n},{-n}\n" for n in range(103)))
    return path


def test_table_epoch_takes_each_row_once(counted: Path) -> None:
    table = TableDataModule(str(counted), ["double", "negative"], batch_size=10, seed=3)
    table.setup("fit")
    assert (table.num_features, table.num_targets, table.steps_per_epoch) == (1, 2, 10)
    batches = [table.batch(7, index) for index in range(10)]
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    assert x.shape == (100, 1)
    assert y.shape == (100, 2)
    assert len(set(x.flatten().tolist())) == 100, "no row twice; three left over are dropped"
    assert torch.equal(y, torch.cat([2 * x, -x], dim=1)), "targets stay with their row"


def test_table_keeps_its_order_unshuffled(counted: Path) -> None:
    table = TableDataModule(str(counted), "double", batch_size=10, shuffle=False, features=["row"])
    table.setup("fit")
    assert [x.flatten().tolist() for x, _ in table.train_dataloader()][1] == list(range(10, 20))


def test_table_split_is_stable_and_leaves_no_row_out(counted: Path) -> None:
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


def test_evaluation_takes_every_row_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linreg_pl.data.loaders.EVALUATION_BATCH_SIZE", 4)
    slices = ConsecutiveSlices(torch.arange(10))
    assert [batch.tolist() for (batch,) in slices] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(slices) == 3


def test_columns_of_a_checkpoint_must_be_the_datas(counted: Path) -> None:
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


def test_order_of_many_rows_is_a_permutation_that_any_row_can_begin() -> None:
    """A row's place is uniform: so are the means over places in the first, middle and last tenth."""
    orders = torch.stack([row_order(0, epoch, LARGE_TABLE_ROWS + 7) for epoch in range(40)])
    assert torch.equal(orders.sort(dim=1).values[-1], torch.arange(LARGE_TABLE_ROWS + 7))
    tenth = LARGE_TABLE_ROWS // 10
    for part in (orders[:, :tenth], orders[:, 4 * tenth : 5 * tenth], orders[:, -tenth:]):
        counts = torch.histc(part.float(), bins=64, min=0, max=LARGE_TABLE_ROWS + 7)
        expected = part.numel() / 64
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert 25 < chi_squared < 120  # of 63 degrees of freedom: 63 ± 11
    neighbours = (orders[:, 1:] - orders[:, :-1]).abs() == 1
    assert neighbours.sum() < 40 * 2 * 3  # two an order are expected


def test_what_is_made_ahead_can_be_left_at_any_time() -> None:
    """Nobody waits for the thread, which may itself be waiting."""
    reading, may_go_on = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        reading.set()
        may_go_on.wait()
        yield 1

    made = prefetched(items())
    assert next(made) == 0
    reading.wait()
    leaving = threading.Thread(target=made.close, daemon=True)  # type: ignore[attr-defined]
    leaving.start()
    leaving.join(10)
    may_go_on.set()
    assert not leaving.is_alive()
