"""Runs under Lightning's own trainer: their curves, their metrics, and what is refused in the command's words."""

import csv
import logging
import math
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from linreg_pl import InputError, LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.exact_answer import ExactAnswer, StopRule
from tests.commands import linreg
from tests.runs import DIABETES
from tests.trainers import plain_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*smaller than the logging",
    "ignore:.*exists and is not empty",
    "ignore:.*callbacks used to create the checkpoint",
    "ignore:.*ModelCheckpoint with manual optimization",
)
TRAINING = {"train/loss", "train/mse", "train/grad_norm", "train/learning_rate", "gap/objective", "gap/grad_norm"}
VALIDATION = {"val/loss", "val/mse", "val/r2"}


def rows(num_rows: int = 120) -> tuple[Tensor, Tensor]:
    """Draws x (N, 2) and y (N, 1) with noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows, 2, generator=generator)
    return x, x @ torch.tensor([[2.0], [-0.5]]) + 7 + 0.1 * torch.randn(num_rows, 1, generator=generator)


def loader(size: int = 30, **settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*rows()), batch_size=size, **settings)


def table(**settings: Any) -> TableDataModule:
    x, y = rows()
    frame = pd.DataFrame({"a": x[:, 0].numpy(), "b": x[:, 1].numpy(), "y": y[:, 0].numpy()})
    return TableDataModule(frame, target="y", **{"batch_size": 30, "val_fraction": 0.2, **settings})


def points(folder: Path) -> dict[int, dict[str, float]]:
    """Reads the newest metrics.csv below a folder; refuses two values of a metric at a step."""
    values: dict[int, dict[str, float]] = {}
    newest = max(folder.rglob("metrics.csv"), key=lambda path: int(path.parent.name.removeprefix("version_")))
    for row in csv.DictReader(newest.read_text().splitlines()):
        step = int(row.pop("step"))
        for name, text in row.items():
            if text and name != "epoch":
                assert name not in values.setdefault(step, {}), f"{name} twice at step {step}"
                values[step][name] = float(text)
    return values


def test_curves_of_a_loader(tmp_path: Path) -> None:
    model, logger = LinearRegression(2), CSVLogger(tmp_path)
    trainer = plain_trainer(5, logger=logger, log_every_n_steps=3)
    trainer.fit(model, loader(), loader())
    drawn = points(tmp_path)
    assert [step for step, values in drawn.items() if "train/loss" in values] == [3, 6, 9, 12, 15, 18, 20]
    assert [step for step, values in drawn.items() if "val/loss" in values] == [4, 8, 12, 16, 20]
    assert drawn[20].keys() == TRAINING | VALIDATION | {"params/W/0", "params/W/1", "params/b"}
    assert drawn[20]["params/W/0"] == model.coefficients()[0][0].item()


def test_curves_equal_the_commands(tmp_path: Path) -> None:
    """The names, the steps and the digits, from TensorBoard's files."""
    flags = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
    length = ("--trainer.max_epochs", "9", "--trainer.log_every_n_steps", "2")
    held_out = ("--data.val_fraction", "0.2", "--data.batch_size", "100")
    assert linreg("fit", *flags, *length, *held_out, cwd=tmp_path).code == 0
    data = TableDataModule(str(DIABETES), target="progression", val_fraction=0.2, batch_size=100)
    logger = TensorBoardLogger(tmp_path, name="plain", default_hp_metric=False)
    trainer = plain_trainer(9, logger=logger, log_every_n_steps=2, num_sanity_val_steps=2)
    trainer.fit(LinearRegression(data.num_features), data)
    logger.finalize("success")
    commands, ours = (
        EventAccumulator(str(tmp_path / folder / "version_0")).Reload() for folder in ("lightning_logs", "plain")
    )
    names = set(commands.Tags()["scalars"])
    assert names == set(ours.Tags()["scalars"])
    assert names >= TRAINING | VALIDATION
    for name in names:
        first, second = ([(point.step, point.value) for point in run.Scalars(name)] for run in (commands, ours))
        assert first == second, name


def test_readme_example_draws_every_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = TableDataModule(str(DIABETES), target="progression", val_fraction=0.2)
    trainer = lightning.Trainer(max_epochs=10, log_every_n_steps=1, enable_progress_bar=False)
    trainer.fit(LinearRegression(num_features=data.num_features), data)
    drawn = EventAccumulator("lightning_logs/version_0").Reload()
    assert TRAINING | VALIDATION | {"params/W/bmi", "params/b"} <= set(drawn.Tags()["scalars"])
    assert [point.step for point in drawn.Scalars("gap/objective")] == list(range(1, 11))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    plain_trainer(2).fit(LinearRegression(2), table())
    printed = capfd.readouterr().out
    assert printed == ""


def test_warnings_of_the_rows_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    x, y = rows()
    with caplog.at_level(logging.WARNING, logger="linreg_pl"):
        collinear = TensorDataset(torch.cat([x, x[:, :1]], dim=1), y)
        plain_trainer(2).fit(LinearRegression(3), DataLoader(collinear, batch_size=30))
        model = LinearRegression.tutorial(2, learning_rate=1.2, schedule="cosine")
        plain_trainer(2).fit(model, loader(size=120))
    ours = [record.getMessage() for record in caplog.records if record.name == "linreg_pl"]
    assert len(ours) == 2
    assert ours[0].startswith("'0', '2' are collinear")
    assert "largest stable one" in ours[1]
    assert "--model" not in ours[1]


@pytest.mark.parametrize("data", [loader(), table()], ids=["loader", "table"])
def test_metrics_for_callbacks(data: Any) -> None:
    """Callbacks of the user's find the values of the step, the epoch and the run that has just ended."""
    seen: list[bool] = []

    class Read(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, LinearRegression)
            loss = pl_module.newest_losses()["loss"].item()
            seen.append(trainer.callback_metrics["train/loss"].item() == loss == trainer.progress_bar_metrics["loss"])
            assert trainer.callback_metrics["params/b"] == pl_module.coefficients()[1].item()

    trainer = plain_trainer(-1, Read(), max_steps=14, log_every_n_steps=10_000)
    model = LinearRegression(2)
    trainer.fit(model, data)
    assert seen
    assert all(seen)
    assert trainer.callback_metrics["params/b"] == model.coefficients()[1].item()
    assert trainer.callback_metrics.keys() >= TRAINING


@pytest.mark.parametrize("monitor", ["train/loss", "train/mse", "gap/objective", "gap/grad_norm", "val/loss"])
@pytest.mark.parametrize("interval", [1.0, 2])
def test_early_stopping(monitor: str, interval: float) -> None:
    rule = EarlyStopping(monitor, stopping_threshold=1.0, patience=10_000)
    trainer = plain_trainer(200, rule, val_check_interval=interval, log_every_n_steps=10_000)
    trainer.fit(LinearRegression.tutorial(2, learning_rate=0.02), loader(), loader())
    assert "stopping_threshold" in str(rule.stopping_reason_message) or "threshold" in str(rule.stopping_reason_message)
    assert 0 < trainer.global_step < 200
    assert trainer.callback_metrics[monitor] < 1.0


def test_best_checkpoint_by_gap(tmp_path: Path) -> None:
    """A checkpoint at every step has the gap of that step."""
    saving = ModelCheckpoint(tmp_path, monitor="gap/objective", every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = plain_trainer(3, saving, enable_checkpointing=True, log_every_n_steps=10_000)
    model = LinearRegression.tutorial(2, learning_rate=0.02)
    trainer.fit(model, loader())
    gaps = [float(saving.best_k_models[str(tmp_path / f"step={step}.ckpt")]) for step in range(1, 13)]
    assert gaps == sorted(gaps, reverse=True)
    assert len(set(gaps)) == 12
    assert saving.best_model_path.endswith("step=12.ckpt")


def test_validate_and_test_return_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, trainer = LinearRegression(2), plain_trainer(4, logger=CSVLogger(tmp_path))
    trainer.fit(model, loader(), loader())
    for data in (loader(), table()):
        (validated,), (tested,) = trainer.validate(model, data), trainer.test(model, data, verbose=False)
        assert validated.keys() == VALIDATION | {"val/rmse"}
        assert tested.keys() == {"test/loss", "test/mse", "test/r2", "test/rmse"}
        assert "val/loss" in capsys.readouterr().out
    (last,) = trainer.validate(model, loader(), verbose=False)
    residuals = model(rows()[0]) - rows()[1].double()
    assert last["val/mse"] == pytest.approx(residuals.square().mean().item(), rel=1e-6)
    assert trainer.loggers, "they are hidden only while Lightning would repeat a point"


def test_scored_rows_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One sentence if the rows of the fit are scored, and none otherwise."""

    def said(stage: str, model: LinearRegression, data: Any) -> list[str]:
        caplog.clear()
        getattr(plain_trainer(1), stage)(model, data, verbose=False)
        return [record.getMessage() for record in caplog.records if record.name == "linreg_pl"]

    expected = "{} scores all rows, those of the fit too, as none are held out: give the data {}_fraction or {}_path"
    model, data = LinearRegression(10), TableDataModule(str(DIABETES), "progression", val_fraction=0.2)
    trainer = lightning.Trainer(max_epochs=1, default_root_dir=tmp_path, enable_progress_bar=False)
    trainer.fit(model, data)
    assert said("test", model, data) == [expected.format("test", "test", "test")]
    assert said("validate", model, data) == []
    loaded = LinearRegression.load(tmp_path / "lightning_logs" / "version_0")
    unsplit = TableDataModule(str(DIABETES), "progression")
    assert said("validate", loaded, unsplit) == [expected.format("validate", "val", "val")]
    copied = tmp_path / "new.csv"
    copied.write_bytes(DIABETES.read_bytes())
    assert said("test", loaded, TableDataModule(str(copied), "progression")) == [], "it may hold other rows"
    assert said("test", loaded, TableDataModule(str(DIABETES), "progression", test_fraction=0.1)) == []


def test_no_point_twice(tmp_path: Path) -> None:
    """Neither by the sanity check, nor by a validation after the fit, nor by callbacks that are passed."""
    exact = ExactAnswer(StopRule())
    for added in ([], [exact], [exact, Curves(exact)]):
        model = LinearRegression(2)
        trainer = plain_trainer(4, *added, logger=CSVLogger(tmp_path), num_sanity_val_steps=2, log_every_n_steps=2)
        trainer.fit(model, table())
        trainer.validate(model, table(), verbose=False)
        trainer.test(model, table(), verbose=False)
        drawn = points(tmp_path)
        assert 0 not in drawn
        last = {"test/loss", "test/mse", "test/r2", "test/rmse", "params/W/a", "params/W/b", "params/b"}
        assert drawn[trainer.global_step].keys() == TRAINING | VALIDATION | last
    fresh = plain_trainer(1, logger=CSVLogger(tmp_path))
    fresh.validate(model, table(), verbose=False)
    assert points(tmp_path)[0].keys() == VALIDATION | {"val/rmse"}


def test_second_fit_of_a_trainer(tmp_path: Path) -> None:
    """The callbacks of the first fit measure the second model from its own start."""
    trainer = plain_trainer(3, logger=CSVLogger(tmp_path), log_every_n_steps=1)
    trainer.fit(LinearRegression(2), loader())
    num_callbacks = len(trainer.callbacks)  # type: ignore[attr-defined]
    trainer.fit_loop.max_epochs = 6
    trainer.fit(LinearRegression(1), SyntheticDataModule(num_rows=120, batch_size=30))
    assert len(trainer.callbacks) == num_callbacks  # type: ignore[attr-defined]
    assert "params/W" in points(tmp_path)[24]


def test_resumed_curves(tmp_path: Path) -> None:
    """A resumed run goes on in a folder of its own, which has only its own points; the gap has the same digits."""
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=8, save_top_k=-1, filename="{step}")
    for name, path in (("whole", None), ("resumed", str(tmp_path / "step=8.ckpt"))):
        added = [saving] if path is None else []
        logger = CSVLogger(tmp_path / name)
        trainer = plain_trainer(5, *added, logger=logger, log_every_n_steps=2, enable_checkpointing=path is None)
        trainer.fit(LinearRegression(2), loader(), ckpt_path=path, weights_only=True)
    whole, resumed = points(tmp_path / "whole"), points(tmp_path / "resumed")
    assert resumed == {step: values for step, values in whole.items() if step > 8}


class Stream(IterableDataset[Any]):
    """Rows whose noise is drawn anew at each iteration."""

    def __init__(self) -> None:
        self.num_iterations = 0

    def __iter__(self) -> Any:
        self.num_iterations += 1
        return iter(list(zip(*rows(), strict=True)))


def test_gap_takes_no_pass_over_a_stream() -> None:
    """A plain model learns nothing from the rows, and another iteration might change those of training."""
    stream = Stream()
    trainer = plain_trainer(2)
    trainer.fit(LinearRegression.tutorial(2, learning_rate=0.01), DataLoader(stream, batch_size=30))
    assert stream.num_iterations == 2
    assert "train/loss" in trainer.callback_metrics
    assert "gap/objective" not in trainer.callback_metrics
    learning = plain_trainer(2)
    learning.fit(LinearRegression(2), DataLoader(stream, batch_size=30))
    assert "gap/objective" in learning.callback_metrics


def test_gap_can_be_left_out() -> None:
    model, trainer = LinearRegression(2), plain_trainer(2)
    model.measures_gap = False
    trainer.fit(model, table())
    assert not model.poses_problem
    assert not any(name.startswith("gap/") for name in trainer.callback_metrics)
    assert "train/loss" in trainer.callback_metrics


def test_curves_do_not_change_a_bit() -> None:
    coefficients = []
    for measures_gap in (True, False):
        for data in (table(), loader()):
            model = LinearRegression(2)
            model.measures_gap = measures_gap
            plain_trainer(5, log_every_n_steps=1).fit(model, data)
            coefficients.append(model.W.clone())
    assert torch.equal(coefficients[0], coefficients[2])
    assert torch.equal(coefficients[1], coefficients[3])


def test_own_training_step() -> None:
    """A subclass with another loss has the curves of its parameters."""

    class Huber(LinearRegression):
        def __init__(self) -> None:
            super().__init__(2, standardize=False, precondition=False, learning_rate=0.1)
            self.automatic_optimization = True

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            return torch.nn.functional.huber_loss(x @ self.W + self.b, y)

    trainer = plain_trainer(3, log_every_n_steps=1)
    trainer.fit(Huber(), loader())
    assert "params/b" in trainer.callback_metrics
    assert not any(name.startswith(("train/loss", "gap/")) for name in trainer.callback_metrics)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mixed precision": ({"precision": "bf16-mixed"}, "precision bf16-mixed is not possible here: give 32-true or"),
    "half precision": ({"precision": "bf16-true"}, "precision bf16-true is not possible here: give 32-true or"),
    "clipping": ({"gradient_clip_val": 1.0}, "gradient_clip_val 1.0 .* lower learning_rate shortens steps"),
    "accumulation": ({"accumulate_grad_batches": 2}, "accumulate_grad_batches 2 is not possible .* raise batch_size"),
    "no validation": ({"check_val_every_n_epoch": 0}, "check_val_every_n_epoch 0 .* give 1 or more"),
    "no interval": ({"val_check_interval": 0}, "val_check_interval 0 .* give more than 0"),
    "few batches": ({"limit_train_batches": 2}, "limit_train_batches 2 .* max_steps shortens a run"),
    "half of the batches": ({"limit_train_batches": 0.5}, "limit_train_batches 0.5 is not possible"),
    "overfitting": ({"overfit_batches": 2}, "overfit_batches 2 is not possible here: leave it out; use fewer rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_are_refused_in_the_commands_words(name: str, tmp_path: Path) -> None:
    settings, words = REFUSED[name]
    logger = CSVLogger(tmp_path / "logs")
    with pytest.raises(InputError, match=f"^{words}"):
        plain_trainer(2, logger=logger, **settings).fit(LinearRegression(2), table())
    assert not list(tmp_path.iterdir())
    flags = [text for key, value in settings.items() for text in (f"--trainer.{key}", str(value))]
    result = linreg("fit", *flags, cwd=tmp_path)
    with pytest.raises(InputError) as refused:
        plain_trainer(2, **settings).fit(LinearRegression(2), table())
    said = result.stderr.removeprefix("linreg: ").strip()
    assert (result.code, said.replace("--trainer.", "").replace("--model.", "").replace("--data.", "")) == (
        2,
        str(refused.value),
    )


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_low_precision_of_evaluations(stage: str) -> None:
    with pytest.raises(InputError, match="precision bf16-true is not possible here"):
        getattr(plain_trainer(1, precision="bf16-true"), stage)(LinearRegression.tutorial(2), loader())


def test_limited_batches_of_a_loader() -> None:
    """Lightning takes the first batches of each epoch, and so does the exact solution."""
    x, y = rows()
    for limit in ({"limit_train_batches": 2}, {"overfit_batches": 2}):
        first = LinearRegression(2)
        plain_trainer(30).fit(first, DataLoader(TensorDataset(x[:60], y[:60]), batch_size=30))
        limited, trainer = LinearRegression(2), plain_trainer(30, **limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # Lightning's, that it does not shuffle
            trainer.fit(limited, loader(shuffle="overfit_batches" in limit))
        assert trainer.global_step == 60
        torch.testing.assert_close(tuple(limited.coefficients()), tuple(first.coefficients()), rtol=1e-6, atol=1e-6)
        assert trainer.callback_metrics["gap/objective"] < 1e-5


def test_settings_that_mean_what_lightning_says() -> None:
    for settings in ({"min_epochs": 2}, {"log_every_n_steps": 0}, {"fast_dev_run": True}, {"val_check_interval": 0.5}):
        for data in (loader(), table()):
            model, trainer = LinearRegression(2), plain_trainer(2, **settings)
            trainer.fit(model, data)
            assert trainer.global_step == (1 if "fast_dev_run" in settings else 2 * int(trainer.num_training_batches))
            assert math.isfinite(model.b.item())


@pytest.mark.parametrize("model", [LinearRegression(3), LinearRegression.tutorial(3), LinearRegression(2, 2)])
def test_data_module_of_another_size(model: LinearRegression) -> None:
    with pytest.raises(InputError, match=r"the data has \d \w+, and num_\w+ is \d: build the model with num_\w+=data"):
        plain_trainer(2).fit(model, table())


def test_repr() -> None:
    text = repr(LinearRegression(3, 2, l2=0.5, momentum=0.9))
    assert text.startswith(
        "LinearRegression(num_features=3, num_targets=2, learning_rate='auto', l2=0.5, l1=0.0, momentum=0.9"
    )
    assert "\n" not in text
