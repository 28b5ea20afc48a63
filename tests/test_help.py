"""`--help`: short, in plain words, and with the flags that have an effect."""

import inspect
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from lightning.pytorch import Trainer

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from tests.commands import Result, linreg

WITH_FLAGS = ("fit", "validate", "test", "predict", "solve", "path", "tune", "describe")
ALL = (*WITH_FLAGS, "runs", "plot", "report", "compare", "export")
COMMON = {"--data", "--data.help", "--help", "--config", "--print_config"}
EVALUATING = {
    *("--ckpt_path", "--trainer.accelerator", "--trainer.strategy", "--trainer.devices", "--trainer.precision"),
    *("--trainer.plugins", "--trainer.deterministic", "--trainer.inference_mode", "--trainer.enable_progress_bar"),
    *("--trainer.callbacks", "--trainer.profiler", "--trainer.fast_dev_run"),
}
EXPECTED = {
    "solve": {
        *("--model.learning_rate", "--model.l2", "--model.l1", "--model.momentum", "--model.fit_intercept"),
        *("--model.fold_bias", "--model.standardize", "--model.precondition", "--trainer.enable_progress_bar"),
        *("--trainer.devices", "--trainer.num_nodes", "--json", "--robust", "--cluster", "--ckpt_path"),
    },
    "path": {
        *("--model.fit_intercept", "--model.fold_bias", "--model.standardize", "--trainer.enable_progress_bar"),
        *("--folds.count", "--folds.by", "--folds.in_order", "--folds.seed", "--l1", "--l2", "--json", "--output"),
        *("--subsets", "--criterion", "--trainer.devices", "--trainer.num_nodes"),
    },
    "describe": set(),
    "validate": EVALUATING | {"--trainer.limit_val_batches"},
    "test": EVALUATING | {"--trainer.limit_test_batches"},
    "predict": EVALUATING | {"--trainer.limit_predict_batches", "--output", "--keep_columns", "--interval"},
}
IMPOSSIBLE = {
    *("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "limit_train_batches"),
    *("overfit_batches", "min_epochs", "min_steps", "num_sanity_val_steps"),
}


@cache
def help_of(*args: str) -> str:
    """Returns what `linreg args…` prints on a screen of 100 columns."""
    with TemporaryDirectory() as name:
        result = linreg(*args, cwd=Path(name), env={"COLUMNS": "100"})
        assert list(Path(name).iterdir()) == [], "a help leaves no files"
    assert (result.code, result.stderr) == (0, "")
    return result.stdout


def flags_in(text: str) -> list[str]:
    """Returns the flags that a help lists."""
    paragraphs = "\n\n".join(part for part in text.split("\n\n") if "Each class has" not in part)
    return re.findall(r"^  (?:-\w, )?(--[\w.]+)", paragraphs, re.MULTILINE)


def names_of(owner: type) -> set[str]:
    """Returns the arguments of a class."""
    return set(inspect.signature(owner).parameters)


def test_each_command_is_named() -> None:
    text = help_of("--help")
    assert re.findall(r"^  (\w+) +[A-Z]\w+", text, re.MULTILINE) == list(ALL)
    assert len(text.splitlines()) <= 40


def test_fit_fits_three_screens() -> None:
    lines = help_of("fit", "--help").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
    sections = [line[:-1] for line in lines if re.fullmatch(r"\w+:", line)]
    assert sections == ["model", "data", "fit", "trainer", "options"]


@pytest.mark.parametrize("command", ["", *ALL])
def test_help_is_plain(command: str) -> None:
    text = help_of(*command.split(), "--help")
    assert [word for word in ("ARG:", "ENV:", "Union", "Literal", "``", ":class:", "<class") if word in text] == []
    assert len(re.findall(r"environment variable", text)) == (
        0 if command in ("runs", "plot", "report", "compare", "export") else 1
    )
    assert len(text.splitlines()) <= 120


@pytest.mark.parametrize("command", EXPECTED)
def test_flags_have_an_effect(command: str) -> None:
    listed = flags_in(help_of(command, "--help"))
    assert sorted(listed) == sorted(EXPECTED[command] | COMMON)


@pytest.mark.parametrize("command", ["fit", *EXPECTED])
def test_sections_have_flags(command: str) -> None:
    sections = help_of(command, "--help").split("\n\n")
    titled = [index for index, text in enumerate(sections) if re.match(r"\w+:\n", text)]
    assert len(titled) >= (2 if command == "describe" else 4)
    for index in titled:
        flags = flags_in(sections[index]) or flags_in(sections[index + 1])
        assert flags, sections[index]


def test_fit_lists_every_flag() -> None:
    first, more = flags_in(help_of("fit", "--help")), flags_in(help_of("fit", "--help=trainer"))
    assert {flag for flag in first if flag.startswith("--model.")} == {
        f"--model.{name}" for name in names_of(LinearRegression) - {"num_features", "num_targets"}
    }
    trainer = [flag for flag in (*first, *more) if flag.startswith("--trainer.") and not flag.endswith(".help")]
    assert sorted(trainer) == sorted(f"--trainer.{name}" for name in names_of(Trainer) - IMPOSSIBLE)
    own = {"--resume", "--allow_changed_settings", "--display_every_n_epochs", "--checkpoint_every_n_epochs"}
    assert own | {"--steps_per_execution", "--exact", "--stop.gap", "--stop.grad_norm"} <= set(first)


def test_help_names_the_data_flags() -> None:
    text = " ".join(help_of("solve", "--help").split())
    for data in (SyntheticDataModule, TableDataModule):
        listed = text.partition(f"{data.__name__}: ")[2].partition(". ")[0]
        assert set(listed.split(", ")) == {f"--data.{name}" for name in names_of(data)}
        page = help_of("fit", "--data.help", data.__name__)
        assert page.startswith(f"usage: linreg COMMAND --data {data.__name__} [flags]\n")
        assert flags_in(page) == [f"--data.{name}" for name in inspect.signature(data).parameters]


def test_part_of_help_is_known(tmp_path: Path) -> None:
    result = linreg("fit", "--help=model", cwd=tmp_path)
    assert (result.code, result.stderr) == (2, "linreg: --help model: give --help, or --help=trainer\n")


def test_settings_without_effect_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("trainer:\n  max_epochs: 3\nmodel:\n  schedule: cosine\n  l2: 0.5\n")
    expected = linreg("solve", "--model.l2", "0.5", cwd=tmp_path).stdout
    environment = {"LINREG_SOLVE__TRAINER__MAX_STEPS": "3", "LINREG_SOLVE__MODEL__INIT_SEED": "1"}
    for result in (
        linreg("solve", "--config", "settings.yaml", cwd=tmp_path),
        linreg("solve", "--model.l2", "0.5", "--model.schedule", "cosine", "--trainer.max_epochs=3", cwd=tmp_path),
        linreg("solve", "--model.l2", "0.5", cwd=tmp_path, env=environment),
    ):
        assert result == Result(0, expected, "")


def test_settings_of_a_callback_have_an_effect(tmp_path: Path) -> None:
    """Only the missing checkpoint is refused."""
    callback = ("--trainer.callbacks=Timer", "--trainer.callbacks.duration=00:00:01:00")
    result = linreg("validate", *callback, cwd=tmp_path)
    message = "linreg: validate needs a checkpoint: give --ckpt_path a run's folder, or RUN/checkpoints/step=….ckpt\n"
    assert result == Result(2, "", message)
