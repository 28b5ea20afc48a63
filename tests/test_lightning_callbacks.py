"""Every callback and every logger of Lightning, by flag and from Python: it works, or is refused before the run."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.callbacks import ProgressBar, ThroughputMonitor
from lightning.pytorch.tuner.tuning import Tuner
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import InputError, LinearRegression, TableDataModule
from tests.commands import linreg
from tests.runs import RUN
from tests.trainers import plain_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ModelCheckpoint with manual optimization",
    "ignore:.*exists and is not empty",
    "ignore:.*fit.ckpt_path=.*(without a model|no last checkpoint)",
    "ignore:.*you need to define a `flops_per_batch`",
)
ROWS = [(index % 7, index % 5, 2 * (index % 7) - index % 5 + index % 3) for index in range(60)]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "EarlyStopping": {"monitor": "val/loss", "patience": 1000},
    "GradientAccumulationScheduler": {"scheduling": {0: 2}},
    "StochasticWeightAveraging": {"swa_lrs": 0.01},
    "Timer": {"duration": "00:01:00:00"},
    "OnExceptionCheckpoint": {"dirpath": "saved"},
    "ModelPruning": {"pruning_fn": "l1_unstructured"},
    "BasePredictionWriter": {"write_interval": "batch"},
    "ThroughputMonitor": {"batch_size_fn": lambda batch: len(batch[0])},
}
REFUSED = {
    "BackboneFinetuning",
    "BaseFinetuning",
    "BatchSizeFinder",
    "EMAWeightAveraging",
    "GradientAccumulationScheduler",
    "LearningRateFinder",
    "ModelPruning",
    "StochasticWeightAveraging",
    "ThroughputMonitor",  # with held-out rows; by flag, as it takes a function
    "WeightAveraging",
}
NOT_INSTALLED = {"LitLogger", "CometLogger", "MLFlowLogger", "WandbLogger"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works in a folder with a table of features a and b."""
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("a,b,y\n" + "\n".join(",".join(map(str, row)) for row in ROWS) + "\n")


def table() -> TableDataModule:
    return TableDataModule("table.csv", target="y", batch_size=12, val_fraction=0.2)


def loader() -> DataLoader[Any]:
    x, y = torch.tensor(ROWS, dtype=torch.float64).split([2, 1], dim=1)
    return DataLoader(TensorDataset(x, y), batch_size=12)


def flags_of(name: str, *more: str) -> list[str]:
    """Returns the flags that pass a callback, with its arguments if flags can hold them."""
    settings = {key: value for key, value in ARGUMENTS.get(name, {}).items() if not callable(value)}
    texts = [text for key, value in settings.items() for text in (f"--trainer.callbacks.{key}", str(value))]
    data = ("--data", "TableDataModule", "--data.path", "table.csv", "--data.target", "y")
    shape = ("--data.batch_size", "12", "--data.val_fraction", "0.2", "--trainer.max_epochs", "12")
    return ["fit", *data, *shape, "--trainer.callbacks", name, *texts, *more]


@pytest.mark.parametrize("name", callbacks.__all__)
def test_callback_by_flag(name: str, tmp_path: Path) -> None:
    result = linreg(*flags_of(name), cwd=tmp_path)
    if name in REFUSED:
        assert (result.code, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert name in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
        return
    assert result.code == 0, result.stderr
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["state"] == "finished"
    assert all(distance < 0.3 for distance in report["distance_in_standard_errors"].values())


@pytest.mark.parametrize("name", callbacks.__all__)
@pytest.mark.parametrize("data", ["loader", "table"])
def test_callback_from_python(name: str, data: str) -> None:
    callback = getattr(callbacks, name)(**ARGUMENTS.get(name, {}))
    trainer = plain_trainer(
        4,
        callback,
        logger=loggers.CSVLogger("logs"),
        enable_checkpointing=True,
        enable_progress_bar=isinstance(callback, ProgressBar),
        log_every_n_steps=2,
    )
    model = LinearRegression(2)
    if name in REFUSED and (data, name) != ("loader", "ThroughputMonitor"):
        with pytest.raises(InputError, match=rf"^callbacks {name} is not possible here: [^\n-]+$"):
            trainer.fit(model, **given(data))
        assert [path.name for path in Path().iterdir()] == ["table.csv"]
        return
    trainer.fit(model, **given(data))
    assert model.coefficients()[0].tolist() == weights_alone(data)


def given(data: str) -> dict[str, Any]:
    """Returns the arguments of `fit` for a kind of data."""
    return {"datamodule": table()} if data == "table" else {"train_dataloaders": loader(), "val_dataloaders": loader()}


@cache
def weights_alone(data: str) -> Any:
    """Returns W after the same run without the callback."""
    model = LinearRegression(2)
    plain_trainer(4).fit(model, **given(data))
    return model.coefficients()[0].tolist()


@pytest.mark.parametrize("name", loggers.__all__)
def test_logger(name: str, tmp_path: Path) -> None:
    flags = [flag for flag in flags_of("Callback") if flag not in ("--trainer.callbacks", "Callback")]
    place = ("--trainer.logger.save_dir", "logs") if name in ("CSVLogger", "TensorBoardLogger") else ()
    result = linreg(*flags, "--trainer.logger", name, *place, cwd=tmp_path)
    if name in NOT_INSTALLED or name == "Logger":
        assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert name in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
        return
    assert result.code == 0, result.stderr
    plain_trainer(3, logger=getattr(loggers, name)("logs"), log_every_n_steps=2).fit(LinearRegression(2), table())
    assert list(Path("logs").rglob("metrics.csv" if name == "CSVLogger" else "events.*"))


def test_device_stats_need_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    trainer = plain_trainer(2, callbacks.DeviceStatsMonitor(), logger=loggers.CSVLogger("logs"))
    with pytest.raises(InputError, match=r"^callbacks DeviceStatsMonitor is not possible here: install psutil"):
        trainer.fit(LinearRegression(2), loader())
    assert [path.name for path in Path().iterdir()] == ["table.csv"]


def test_throughput_of_training_alone() -> None:
    """It works where no rows are held out."""
    monitor = ThroughputMonitor(lambda batch: len(batch[0]))
    data = TableDataModule("table.csv", target="y", batch_size=12)
    trainer = plain_trainer(3, monitor, logger=loggers.CSVLogger("logs"), log_every_n_steps=2)
    trainer.fit(LinearRegression(2), data)
    assert trainer.global_step == 15


def test_tuner_is_refused() -> None:
    with pytest.raises(InputError, match=r"LearningRateFinder is not possible here.* learning_rate='auto' computes"):
        Tuner(plain_trainer(2)).lr_find(LinearRegression(2), loader())


def test_timer_by_flag(tmp_path: Path) -> None:
    """The settings of the run name it, so that the run can be resumed."""
    assert linreg(*flags_of("Timer"), cwd=tmp_path).code == 0
    longer = ("--trainer.max_epochs", "40", "--allow_changed_settings", "true")
    resumed = linreg("fit", "--resume", str(RUN), *longer, cwd=tmp_path)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert "interval: step" in (tmp_path / RUN / "config.yaml").read_text()


@pytest.mark.parametrize("monitor", ["train/loss", "gap/objective"])
def test_monitor_by_flag(monitor: str, tmp_path: Path) -> None:
    """A rule is checked after each validation with the values of that step, also within a long execution."""
    rule = (f"--trainer.callbacks.monitor={monitor}", "--trainer.callbacks.stopping_threshold", "2.5")
    flags = [flag for flag in flags_of("EarlyStopping", *rule) if flag not in ("val/loss",)]
    flags.remove("--trainer.callbacks.monitor")
    slow = ("--model.learning_rate", "0.02", "--model.schedule", "constant", "--trainer.max_epochs", "90")
    whole, single = tmp_path / "whole", tmp_path / "single"
    for folder, more in ((whole, ()), (single, ("--steps_per_execution", "1"))):
        folder.mkdir()
        (folder / "table.csv").write_text((tmp_path / "table.csv").read_text())
        result = linreg(*flags, *slow, *more, "--trainer.log_every_n_steps", "1000", cwd=folder)
        assert (result.code, result.stderr) == (0, "")
        assert "stopped by EarlyStopping" in result.stdout
    reports = [(folder / RUN / "report.json").read_bytes() for folder in (whole, single)]
    assert reports[0] == reports[1]


def test_monitor_needs_validation(tmp_path: Path) -> None:
    flags = [*flags_of("EarlyStopping"), "--data.val_fraction", "0", "--trainer.callbacks.monitor", "gap/objective"]
    result = linreg(*flags, cwd=tmp_path)
    assert (result.code, "--stop.gap stops a run without them" in result.stderr) == (2, True)
    result = linreg(*flags_of("EarlyStopping", "--trainer.callbacks.monitor", "val/mae"), cwd=tmp_path)
    assert (result.code, "gap/objective or gap/grad_norm" in result.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
