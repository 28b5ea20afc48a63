"""Checkpoints: every entry has one owner, and the format has a version."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import linreg_pl
from linreg_pl import InputError, LinearRegression
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints
from linreg_pl.training.checkpoint_contents import CheckpointContents, DescentSettings, NewerFormatError
from tests.commands import linreg
from tests.runs import JOBS, RUN, equal, newest

KEYS = (
    *("state_dict", "optimizer_states", "hyper_parameters", "datamodule_hyper_parameters", "pytorch-lightning_version"),
    *("descent", "linreg_pl_format", "linreg_pl_version"),
)
"""Keys of a checkpoint that are the name of nothing else in the package."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 21 steps, which ends at a point of the curves."""
    folder = tmp_path_factory.mktemp("trained")
    flags = ("--trainer.max_epochs", "7", "--checkpoint_every_n_epochs", "3")
    result = linreg("fit", *JOBS["synthetic"], *flags, cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    return folder


def test_one_file_knows_the_keys() -> None:
    owner = Path("training") / "checkpoint_contents.py"
    package = Path(linreg_pl.__file__).parent
    for path in package.rglob("*.py"):
        quoted = [key for key in KEYS if f'"{key}"' in path.read_text()]
        assert quoted == [] or path.relative_to(package) == owner, f"{path}: {quoted}"


def test_contents_round_trip(trained: Path) -> None:
    saved = newest(trained)
    contents = CheckpointContents.from_dict(saved)
    assert equal(contents.to_dict(), saved)
    assert contents.global_step == contents.progress.total_steps == 21
    assert contents.points["train/loss"] == pytest.approx(contents.progress.loss)
    assert contents.descent == DescentSettings(lr=1e-4, momentum=0.9)
    assert contents.exact is not None
    assert contents.exact.num_rows == 30
    assert contents.data is not None
    assert (contents.data.class_name, contents.data.values["feature_names"]) == ("SyntheticDataModule", ["x"])
    assert set(contents.others) == {"epoch", "loops", "callbacks", "lr_schedulers", "hparams_name"} | {
        "datamodule_hparams_name"
    }


def test_checkpoint_names_its_format(trained: Path) -> None:
    saved = newest(trained)
    assert saved["linreg_pl_format"] == CheckpointContents.newest_format == 3
    assert saved["linreg_pl_version"] == version("linreg_pl")


def without_versions(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns the checkpoint as format 1 has it."""
    return {key: value for key, value in checkpoint.items() if not key.startswith("linreg_pl_")}


def test_format_1_has_no_number(trained: Path) -> None:
    contents = CheckpointContents.from_dict(without_versions(newest(trained)))
    assert (contents.format_version, contents.program_version) == (1, None)


def test_newer_format_is_refused(trained: Path, tmp_path: Path) -> None:
    """Even if an older checkpoint could be used: a run that goes on from there would remove the newer one."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    path = checkpoints(tmp_path / RUN)[-1].relative_to(tmp_path)
    torch.save({**newest(tmp_path), "linreg_pl_format": 4, "linreg_pl_version": "9.1.0"}, tmp_path / path)
    before = {file: file.read_bytes() for file in (tmp_path / RUN).rglob("*") if file.is_file()}
    longer = ("--trainer.max_epochs", "8")
    for command in (
        ("fit", "--resume", str(RUN), *longer),
        ("fit", "--resume", str(path), *longer),
        ("predict", "--ckpt_path", str(path)),
        ("plot", str(RUN)),
    ):
        refused = linreg(*command, cwd=tmp_path)
        assert (refused.code, refused.stdout) == (2, "")
        assert refused.stderr == (
            f"linreg: {path}: linreg_pl 9.1.0 wrote this checkpoint in format 4, and this version,"
            f" {version('linreg_pl')}, reads formats up to 3: install linreg_pl 9.1.0 or later\n"
        )
    assert {file: file.read_bytes() for file in (tmp_path / RUN).rglob("*") if file.is_file()} == before
    with pytest.raises(NewerFormatError, match=r"linreg_pl 9\.1\.0 wrote this"):
        LinearRegression.load_from_checkpoint(tmp_path / path, weights_only=True)


@pytest.mark.parametrize("key", ["state_dict", "global_step", "hyper_parameters", "pytorch-lightning_version"])
def test_missing_entry_is_refused(key: str, trained: Path, tmp_path: Path) -> None:
    saved = newest(trained)
    del saved[key]
    torch.save(saved, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"other\.ckpt: this is no checkpoint of a linear regression"):
        read_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    "state",
    [
        {"W": torch.zeros(2, 1)},
        {"W": torch.zeros(2), "b": torch.zeros(())},
        {"W": torch.zeros(2, 1), "b": torch.zeros(2)},
        {"W": [[0.0]], "b": [0.0]},
        [],
    ],
)
def test_other_models_are_refused(state: Any, trained: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint of a linear regression"):
        CheckpointContents.from_dict({**newest(trained), "state_dict": state})
    with pytest.raises(InputError, match="no checkpoint of a linear regression"):
        CheckpointContents.from_dict(state)


def test_changed_descent_overrides_optimizer(trained: Path) -> None:
    """A setting that is as it was leaves the optimizer's alone, which a scheduler may have moved."""
    contents = CheckpointContents.from_dict(newest(trained))
    [group] = contents.optimizer_states[0]["param_groups"]
    group["lr"] = 7.0
    contents.change_descent(DescentSettings(lr=1e-4, momentum=0.5))
    assert (group["lr"], group["momentum"]) == (7.0, 0.5)
    contents.change_descent(DescentSettings(lr=2e-4, momentum=0.5))
    assert (group["lr"], group["momentum"]) == (2e-4, 0.5)


@pytest.mark.parametrize(
    ("key", "value"), [("linreg_pl_format", "3"), ("descent", 0.1), ("exact", {"loss": 1.0}), ("progress", 0.5)]
)
def test_entries_of_other_types_are_refused(key: str, value: Any, trained: Path, tmp_path: Path) -> None:
    torch.save({**newest(trained), key: value}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"other\.ckpt: this is no checkpoint of a linear regression"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_hyper_parameters_are_no_data_state(trained: Path) -> None:
    """A data module may have the names of its columns as hyper-parameters."""
    settings = {"feature_names": ["x"], "target_names": ["y"]}
    saved = newest(trained)
    state = saved.pop("SyntheticDataModule")
    contents = CheckpointContents.from_dict({**saved, "datamodule_hyper_parameters": settings, "Rows": state})
    assert contents.datamodule_hyper_parameters == settings
    assert contents.data is not None
    assert (contents.data.class_name, contents.data.values) == ("Rows", state)


def test_checkpoint_of_lightnings_cli_is_evaluated(trained: Path, tmp_path: Path) -> None:
    """A `LightningCLI` adds to the hyper-parameters the name of the function that builds the model."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    saved, path = newest(tmp_path), checkpoints(tmp_path / RUN)[-1].relative_to(tmp_path)
    evaluated = linreg("validate", "--ckpt_path", str(path), cwd=tmp_path)
    saved["hyper_parameters"]["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    torch.save(saved, tmp_path / path)
    assert linreg("validate", "--ckpt_path", str(path), cwd=tmp_path) == evaluated
    assert (evaluated.code, evaluated.stderr) == (0, "")
