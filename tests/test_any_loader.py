"""Training on a user's own loader, with the class's defaults, compared with scikit-learn."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from sklearn.linear_model import LinearRegression as Oracle
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from linreg_pl import InputError, LinearRegression
from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.exact_answer import ExactAnswer, StopRule
from linreg_pl.data.loader_rows import LoaderRows
from tests.trainers import plain_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*smaller than the logging",
    "ignore:.*length of `(DataLoader|CombinedLoader)`",
    "ignore:.*exists and is not empty",
    "ignore:.*callbacks used to create the checkpoint",
)


class Rows(NamedTuple):
    """Features x (N, D), targets y (N, K), and weights (N, 1) if any."""

    x: Tensor
    y: Tensor
    weights: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.x, self.y) if self.weights is None else (self.x, self.y, self.weights)

    def batches(self, size: int) -> list[tuple[Tensor, ...]]:
        return list(zip(*(torch.split(tensor, size) for tensor in self.tensors), strict=True))

    def loader(self, size: int = 32, **settings: Any) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.tensors), batch_size=size, **settings)


def rows(
    num_rows: int = 300, num_targets: int = 1, dtype: torch.dtype = torch.float32, weighted: bool = False, seed: int = 0
) -> Rows:
    """Draws rows with three correlated features and noise of deviation 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = normal(num_rows, 3) @ (normal(3, 3) + torch.eye(3)) + 2
    y = x @ normal(3, num_targets) * 3 + 4 + normal(num_rows, num_targets)
    weights = 50 * (1 + normal(num_rows, 1).square()) if weighted else None
    return Rows(x.to(dtype), y.to(dtype), None if weights is None else weights.to(dtype))


def standard_errors_off(model: LinearRegression, data: Rows) -> float:
    """Returns the largest distance of a coefficient from scikit-learn's, in standard errors."""
    x, y = data.x.double().numpy(), data.y.double().numpy()
    weights = np.ones(len(x)) if data.weights is None else data.weights.double().numpy().ravel()
    oracle = Oracle().fit(x - x.mean(axis=0), y, weights)
    residuals = y - oracle.predict(x - x.mean(axis=0))
    columns = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
    inverse = np.linalg.inv(columns.T @ (weights[:, None] * columns))
    variances = (weights[:, None] * residuals**2).sum(axis=0) / (len(x) - columns.shape[1])
    errors = np.sqrt(np.outer(inverse.diagonal(), variances))
    W, b = model.coefficients()
    at_means = model(data.x.double().mean(dim=0, keepdim=True)).detach().numpy()
    assert b.shape == (y.shape[1],)
    off = np.vstack([at_means - oracle.intercept_, W.numpy() - oracle.coef_.T]) / errors
    return float(np.abs(off).max())


def fitted(loader: Any, *callbacks: Callback, num_targets: int = 1, max_epochs: int = 30, **kwargs: Any) -> Any:
    """Returns a model with the class's defaults after a run."""
    model = LinearRegression(3, num_targets)
    plain_trainer(max_epochs, *callbacks, **kwargs).fit(model, loader)
    return model


LOADERS: dict[str, tuple[Rows, Callable[[Rows], Any]]] = {
    "shuffled": (rows(), lambda data: data.loader(shuffle=True)),
    "unshuffled": (rows(), lambda data: data.loader()),
    "one row in the last batch": (rows(129), lambda data: data.loader(128)),
    "last batch dropped": (rows(), lambda data: data.loader(shuffle=True, drop_last=True)),
    "all rows in a batch": (rows(), lambda data: data.loader(300, shuffle=True)),
    "weights": (rows(weighted=True), lambda data: data.loader(shuffle=True)),
    "weights, in order": (rows(weighted=True), lambda data: data.loader()),
    "several targets": (rows(num_targets=3), lambda data: data.loader(shuffle=True)),
    "a list": (rows(), lambda data: data.batches(50)),
    "a list of weighted batches": (rows(weighted=True), lambda data: data.batches(64)),
    "float64": (rows(dtype=torch.float64), lambda data: data.loader(shuffle=True)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_ends_at_the_exact_answer(name: str) -> None:
    torch.manual_seed(0)
    data, loader = LOADERS[name]
    model = fitted(loader(data), num_targets=data.y.shape[1])
    assert model.W.dtype == torch.float32
    assert standard_errors_off(model, data) < 0.3


def test_float64_far_from_zero() -> None:
    """float32 would have a rounding of 128 in these features and targets."""
    data = rows(dtype=torch.float64)
    far = Rows(data.x + 1.7e9, data.y + 1.6e9)
    torch.manual_seed(0)
    model = fitted(far.loader(shuffle=True))
    assert standard_errors_off(model, far) < 0.3


def test_float64_that_float32_cannot_hold() -> None:
    """The parameters become float64 before the optimizer is built, and stay the ones that it updates."""
    data = rows(dtype=torch.float64)
    x = data.x.clone()
    x[:, 2] = x[:, 1] + 1e-5 * x[:, 2]
    nearly_collinear = Rows(x, data.y)
    model = LinearRegression(3)
    parameters = list(model.parameters())
    trainer = plain_trainer(30)
    trainer.fit(model, nearly_collinear.loader())
    assert model.W.dtype == torch.float64
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    assert trainer.optimizers[0].param_groups[0]["params"][0] is model.W
    assert standard_errors_off(model, nearly_collinear) < 0.3


def test_float32_columns_are_judged_with_their_rounding() -> None:
    """A sum that was rounded to float32 is collinear with its terms; the same sum in float64 with noise is not."""
    data = rows()
    x = torch.column_stack([data.x[:, 0], data.x[:, 1], data.x[:, 0] + data.x[:, 1]])
    trainer, model = plain_trainer(3), LinearRegression(3)
    trainer.fit(model, DataLoader(TensorDataset(x, data.y), batch_size=50))
    posed = model.problem(LoaderRows(Rows(x, data.y).batches(50), 3, 1))
    assert posed.dependent_columns == ["0", "1", "2"]
    assert model.W.abs().max() < 100
    assert LoaderRows(Rows(x.double(), data.y).batches(50), 3, 1).triangle.errors[3] < 1e-11


def test_own_data_module() -> None:
    data = rows()

    class Own(LightningDataModule):
        def setup(self, stage: str) -> None:
            self.rows = data

        def train_dataloader(self) -> DataLoader[Any]:
            return self.rows.loader(shuffle=True)

        def val_dataloader(self) -> DataLoader[Any]:
            return self.rows.loader(100)

    torch.manual_seed(0)
    model, trainer = LinearRegression(3), plain_trainer(30, num_sanity_val_steps=0)
    trainer.fit(model, datamodule=Own())
    assert standard_errors_off(model, data) < 0.3
    r2 = Oracle().fit(data.x.numpy(), data.y.numpy()).score(data.x.numpy(), data.y.numpy())
    assert trainer.callback_metrics["val/r2"].item() == pytest.approx(r2, abs=1e-4)


class Stream(IterableDataset[Any]):
    """Rows one by one, each time anew."""

    def __init__(self, data: Rows) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(list(zip(*self.data.tensors, strict=True)))


class OwnIterator:
    """A loader that is its own iterator, shuffles, and starts anew at `iter`."""

    def __init__(self, data: Rows, has_length: bool) -> None:
        self.batches = data.batches(32)
        self.position = 0
        if has_length:
            self.__class__ = OwnIteratorWithLength

    def __iter__(self) -> Iterator[Any]:
        self.position, self.order = 0, torch.randperm(len(self.batches)).tolist()
        return self

    def __next__(self) -> Any:
        if self.position == len(self.batches):
            raise StopIteration
        self.position += 1
        return self.batches[self.order[self.position - 1]]


class OwnIteratorWithLength(OwnIterator):
    """The same with a length."""

    def __len__(self) -> int:
        return len(self.batches)


@pytest.mark.parametrize(
    "loader",
    [
        lambda data: DataLoader(Stream(data), batch_size=32),
        lambda data: OwnIterator(data, has_length=False),
        lambda data: OwnIterator(data, has_length=True),
        lambda data: data.loader(num_workers=1, persistent_workers=True, multiprocessing_context="fork"),
    ],
    ids=["IterableDataset", "own iterator", "own iterator with a length", "persistent workers"],
)
def test_loaders_that_share_their_iterator(loader: Callable[[Rows], Any]) -> None:
    """Every epoch has all its batches, the first one too, though a pass goes over the loader before."""
    data = rows()
    torch.manual_seed(0)
    model, trainer = LinearRegression(3), plain_trainer(20)
    trainer.fit(model, loader(data))
    assert trainer.global_step == 20 * 10
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-3 * model.learning_rate, "the schedule ended"
    assert standard_errors_off(model, data) < 0.3


def test_limited_batches_of_an_endless_stream() -> None:
    data = rows(320)

    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield from zip(*data.tensors, strict=True)

    for limits in ({"limit_train_batches": 10, "max_epochs": 20}, {"max_steps": 200, "max_epochs": -1}):
        model = LinearRegression(3)
        trainer = plain_trainer(**limits)
        trainer.fit(model, DataLoader(Endless(), batch_size=32))
        assert trainer.global_step == 200
        assert standard_errors_off(model, data) < 0.3


def good(**changes: Any) -> list[tuple[Any, ...]]:
    """Returns one batch of three features, with changes."""
    parts = {"x": torch.randn(8, 3), "y": torch.randn(8, 1), **changes}
    return [tuple(parts.values())]


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ((batch for batch in rows().batches(32)), "can be iterated only once"),
        (DataLoader(TensorDataset(torch.ones(5, 3), torch.ones(5, 1)), batch_size=8, drop_last=True), "is empty"),
        ({"a": rows().loader(), "b": rows().loader()}, "several loaders: give one"),
        ([rows().loader(), rows().loader()], "several loaders: give one"),
        (good(x=torch.randn(8, 4)), "x has 4 columns .* num_features is 3: build the model with num_features=4"),
        (good(y=torch.randn(8, 2)), "y has 2 columns .* num_targets is 1: build the model with num_targets=2"),
        (good(y=torch.randn(8)), r"y has shape \(8,\) .* give it \(N, 1\), for example y.unsqueeze\(1\)"),
        (good(x=torch.randn(8)), r"x has shape \(8,\) in a batch of the loader: give it \(N, 3\)"),
        (good(y=torch.randn(7, 1)), "8 rows of x and 7 of y"),
        (good(y=torch.ones(8, 1, dtype=torch.int64)), "y has type int64 .* y.double()"),
        (good(x=torch.full((8, 3), torch.nan)), "x has NaN or infinite values"),
        (good(y=torch.full((8, 1), torch.inf)), "y has NaN or infinite values"),
        (good(weights=torch.ones(8)), r"weights has shape \(8,\) .* give it \(8, 1\)"),
        (good(weights=-torch.ones(8, 1)), "weights are negative"),
        (good(weights=torch.zeros(8, 1)), "all weights of the training loader are 0"),
        ([*good(weights=torch.ones(8, 1)), *good()], "some batches of the training loader have weights"),
        (good(weights=torch.ones(8, 1), more=torch.ones(8, 1)), "yields a tuple of Tensor, Tensor, Tensor, Tensor"),
        (DataLoader(torch.randn(8, 3), batch_size=4), r"yields a Tensor: give batches \(x, y\)"),  # type: ignore
        (DataLoader([{"x": torch.ones(3), "y": torch.ones(1)}] * 4, batch_size=2), r"yields a dict"),  # type: ignore
    ],
)
@pytest.mark.parametrize("learns", [True, False], ids=["defaults", "tutorial"])
def test_unusable_loaders_are_refused(loader: Iterable[Any], message: str, learns: bool) -> None:
    """The sentences are the same where the model needs no pass, apart from those on the loader as a whole."""
    model = LinearRegression(3) if learns else LinearRegression.tutorial(3)
    if not learns and any(word in message for word in ("loader:", "only once", "empty", "several", "training loader")):
        return
    with pytest.raises(InputError, match=message):
        plain_trainer(2).fit(model, loader)


def test_one_shot_dataset_is_refused() -> None:
    class OneShot(IterableDataset[Any]):
        def __init__(self) -> None:
            self.items = iter(list(zip(*rows().tensors, strict=True)))

        def __iter__(self) -> Iterator[Any]:
            return self.items

    with pytest.raises(InputError, match="can be iterated only once"):
        fitted(DataLoader(OneShot(), batch_size=32))


def test_schedule_needs_a_length() -> None:
    loader = DataLoader(Stream(rows()), batch_size=32)
    with pytest.raises(InputError, match="give max_steps, as the loader has no length"):
        plain_trainer(2).fit(LinearRegression.tutorial(3, schedule="cosine"), loader)


@pytest.mark.parametrize("learns", [True, False], ids=["defaults", "plain"])
def test_validation_of_any_batches(learns: bool) -> None:
    data = rows(dtype=torch.float64)
    model = LinearRegression(3) if learns else LinearRegression.tutorial(3, learning_rate=1e-3)
    trainer = plain_trainer(2, num_sanity_val_steps=0)
    trainer.fit(model, data.loader(), data.loader(70))
    residuals = model(data.x).detach().double() - data.y
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(residuals.square().mean().item(), rel=1e-6)
    with pytest.raises(InputError, match=r"y has shape \(70,\) .* y.unsqueeze\(1\)"):
        plain_trainer(1).validate(model, DataLoader(TensorDataset(data.x, data.y[:, 0]), batch_size=70), verbose=False)
    with pytest.raises(InputError, match=r"x has shape \(5, 1\), and the model predicts from \(N, 3\)"):
        model(torch.ones(5, 1))


class Recorder(Logger):
    """A logger that keeps the scalars."""

    name, version = "recorder", 0

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[int, dict[str, float]] = {}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keeps nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.points.setdefault(step or 0, {}).update(metrics)


@pytest.mark.parametrize("shuffle", [True, False])
def test_exact_answer_and_curves(shuffle: bool, capsys: pytest.CaptureFixture[str]) -> None:
    data, logger, exact = rows(), Recorder(), ExactAnswer(StopRule())
    torch.manual_seed(0)
    model = fitted(data.loader(shuffle=shuffle), exact, Curves(exact), logger=logger, log_every_n_steps=10)
    W, b = exact.problem.optimum.W, exact.problem.optimum.b
    oracle = Oracle().fit(data.x.double().numpy(), data.y.double().numpy())
    np.testing.assert_allclose(W.numpy(), oracle.coef_.T, rtol=1e-10)
    np.testing.assert_allclose(b.numpy(), oracle.intercept_, rtol=1e-10)
    last = logger.points[300]
    gap = (model(data.x).double() - data.y).square().mean().item() - exact.problem.optimum.objective
    assert last["gap/objective"] == pytest.approx(gap, abs=1e-6)
    assert last["params/W/0"] == pytest.approx(model.coefficients()[0][0].item())
    assert {"params/W/1", "params/W/2", "params/b", "train/loss", "gap/grad_norm"} <= last.keys()
    assert "exact     W/0" in capsys.readouterr().out
    torch.manual_seed(0)
    without = fitted(data.loader(shuffle=shuffle))
    assert torch.equal(model.W, without.W), "passes change no training batch"


@pytest.mark.parametrize("weighted", [False, True])
def test_resumed_run_equals_an_uninterrupted_one(weighted: bool, tmp_path: Path) -> None:
    data = rows(weighted=weighted)
    whole = fitted(data.loader(), max_epochs=12)

    class Kill(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 5:
                raise KeyError("killed")

    saving = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    with pytest.raises(KeyError):
        fitted(data.loader(), saving, Kill(), max_epochs=12, enable_checkpointing=True)
    model = LinearRegression(3)
    plain_trainer(12).fit(model, data.loader(), ckpt_path=str(tmp_path / "epoch=4.ckpt"), weights_only=True)
    assert torch.equal(model.W, whole.W)
    assert torch.equal(model.b, whole.b)


@pytest.mark.parametrize("measures_gap", [False, True])
def test_resumed_run_learns_nothing_anew(measures_gap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the gap takes a pass."""
    data, logger = rows(), Recorder()
    first = fitted(data.loader(shuffle=True), ModelCheckpoint(tmp_path, filename="a"), enable_checkpointing=True)
    other = Rows(data.x * 2 + 1, data.y)
    passes: list[object] = []
    again = LinearRegression(3)
    again.measures_gap = measures_gap
    if not measures_gap:
        monkeypatch.setattr(LoaderRows, "_pass", property(passes.append))
    trainer = plain_trainer(40, logger=logger)
    trainer.fit(again, other.loader(), ckpt_path=str(tmp_path / "a.ckpt"), weights_only=True)
    assert passes == []
    for name in ("x_mean", "x_scale", "y_mean", "preconditioner"):
        assert torch.equal(getattr(again, name), getattr(first, name)), name
    assert again.learning_rate == first.learning_rate
    assert trainer.global_step == 400
    assert ("gap/objective" in logger.points[400]) == measures_gap


def test_resumed_run_with_the_exact_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pass over rows that a loader shuffles has the same bits at every time."""
    data, solutions = rows(), []
    for path in (None, str(tmp_path / "a.ckpt")):
        exact = ExactAnswer(StopRule())
        saving = ModelCheckpoint(tmp_path, filename="a", enable_version_counter=False)
        trainer = plain_trainer(10 if path is None else 15, exact, saving, enable_checkpointing=True)
        trainer.fit(LinearRegression(3), data.loader(shuffle=True), ckpt_path=path, weights_only=True)
        solutions.append(exact.problem.optimum.W)
    assert torch.equal(*solutions)


def test_second_fit_takes_the_new_loader() -> None:
    data, other = rows(), rows(seed=1)
    model = fitted(data.loader())
    plain_trainer(30).fit(model, other.loader())
    assert model._loader_rows is None, "a copy of the module would copy the loader"
    assert standard_errors_off(model, other) < 0.3


def test_rows_of_weight_0_are_absent() -> None:
    """Whatever numbers they hold, the center of the columns does not see them."""
    fitted = []
    for value in (0.0, 1e17):
        data = rows(dtype=torch.float64, weighted=True)
        assert data.weights is not None
        for tensor, absent in ((data.weights, 0.0), (data.x, value), (data.y, -value)):
            tensor[::7] = absent
        model = LinearRegression(data.x.shape[1])
        plain_trainer(20).fit(model, data.loader())
        fitted.append(model.coefficients()[0])
    torch.testing.assert_close(fitted[1], fitted[0], rtol=1e-5, atol=1e-5)
