"""Bad input of every kind: one line says what, where, what was found and what to do, and nothing is written.

Each case is a real process in a folder of its own. To read all messages:

    pytest tests/test_bad_input.py -q -rP | grep ^linreg:
"""

import ctypes
import os
import pickle
import re
import shlex
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import yaml

from tests.commands import Result, linreg

JARGON = ("Traceback", "usage:", "<class", "Namespace(", "class_path", "NestedArg", "Union subtypes", "Errno")
LONGEST = 400
HEADER = "x,z,y\n"
NUM_ROWS = 20
TABLE = HEADER + "".join(f"{row},{row * row % 7},{2 * row}\n" for row in range(NUM_ROWS))
MONITOR = "--trainer.callbacks EarlyStopping --trainer.callbacks.monitor"
RUN = "lightning_logs/version_0"  # of the synthetic data, 2 epochs of 2 steps
TABLE_RUN = "lightning_logs/version_1"  # of the table, 2 epochs of 1 step
CHECKPOINT = f"{RUN}/checkpoints/step=4.ckpt"
TABLE_CHECKPOINT = f"{TABLE_RUN}/checkpoints/step=2.ckpt"


def contents(folder: Path) -> dict[Path, bytes]:
    """Returns the contents of all files below a folder; of a folder, nothing."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def offered(result: Result) -> list[str]:
    """Returns the arguments of the command that a refusal offers; none if it offers none."""
    _, _, command = result.stderr.partition("\nThis works:\n")
    return shlex.split(command)[1:]


def assert_refused(result: Result, words: str) -> None:
    """Asserts short lines without jargon that have each of `words`, which `|` separates.

    Several lines, and a command at the end, are for tables whose faults flags can settle.
    """
    print(result.stderr, end="")
    assert result.code == 2, result.stderr
    assert re.fullmatch(r"linreg: [^\n]+\n([^\n]+\n)*This works:\n[^\n]+\n|linreg: [^\n]+\n", result.stderr)
    assert max(map(len, result.stderr.splitlines())) <= LONGEST
    assert [word for word in JARGON if word in result.stderr] == []
    assert [word for word in words.split("|") if word not in result.stderr] == []
    assert re.fullmatch(r"(fitting [^\n]*\n)?", result.stdout), "nothing was trained"


def refuse(*args: str, cwd: Path, words: str, env: Mapping[str, str] | None = None) -> None:
    """Runs `linreg args…`, and asserts that it is refused and leaves the folder unchanged.

    If the refusal offers a command, that works.
    """
    before = contents(cwd)
    result = linreg(*args, cwd=cwd, env=env)
    assert_refused(result, words)
    assert contents(cwd) == before
    if command := offered(result):
        again = linreg(*command, cwd=cwd, env=env)
        assert again.code == 0, (command, again.stderr)


def parquet(**table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table(table), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def of_table(path: str, *more: str) -> tuple[str, ...]:
    return ("--data", "TableDataModule", "--data.path", path, "--data.target", "y", *more)


# ---- tables ----

LONG = "1,2,3\n" * 4999
LARGE = "1,2,3\n" * 250_000  # 1.5 MB: Arrow cuts blocks of 1 MB, and settles types block by block
GOOD = parquet(x=[1.0, 2.0], y=[1.0, 2.0])
CSVS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "bad.csv|empty|--data.path"),
    "header only": (HEADER, "bad.csv|not a single row"),
    "header without newline": ("x,z,y", "bad.csv|not a single row"),
    "doubled column": ("x,x,y\n1,inf,3\n", "bad.csv|'x.1'|row 1|inf"),
    "text": (
        HEADER + "1,2,3\n4,abc,6\n7,8,9\n",
        "bad.csv|'z'|row 2|'abc'|2 of 3 values are numbers",
    ),
    "text in row 5000": (HEADER + LONG + "1,2,three\n", "bad.csv|'y'|row 5000|'three'|--data.target"),
    "text in a later block": (HEADER + LARGE + "n.a.,2,3\n", "bad.csv|'x'|row 250001|'n.a.'"),
    "long text": (HEADER + f"1,2,{'word ' * 200}\n", "bad.csv|'y'|row 1|'word word|…'"),
    "NaN": (HEADER + "1,2,3\n1,nan,3\n", "bad.csv|'z'|row 2|a value is missing|1 of 2 rows|--data.missing"),
    "infinity": (HEADER + "1,2,3\n1,-inf,3\n", "bad.csv|'z'|row 2|-inf"),
    "empty cell": (
        HEADER + "1,2,3\n1,,3\n,,3\n",
        "bad.csv|'z'|row 2|missing|2 of 3 rows: 'z' in 2, 'x' in 1",
    ),
    "empty columns": (HEADER + ",,3\n,,3\n", "bad.csv|no column is left|'x' is empty, 'z' is empty"),
    "too large for float32": (HEADER + "1,2,3\n1,1e39,3\n", "bad.csv|'z'|row 2|1e+39|float32"),
    "short row": (HEADER + "1,2,3\n1,2\n", "bad.csv|row 2|2 values|header has 3|'1,2'"),
    "long row": (HEADER + "1,2,3,4\n", "bad.csv|row 1|4 values|header has 3|'1,2,3,4'"),
    "short row in a later block": (HEADER + LARGE + "1,2\n", "bad.csv|row 250001|2 values|header has 3"),
    "long short row": (",".join(f"column{i}" for i in range(500)) + "\n" + "1," * 300 + "\n", "row 1|301 values|…"),
    "quote without end": (HEADER + '1,"2,3\n4,5,6\n', "bad.csv|row 1|quote that is never closed"),
    "other delimiters": (TABLE.replace(",", "^"), "bad.csv|'y'|'x^z^y'|commas"),
    "500 columns": (",".join(f"column{i}" for i in range(500)) + "\n", "no column 'y'|'column0'|and 492 more"),
    "blank in a name": (TABLE.replace(",", ", "), "no column 'y'|did you mean ' y'?"),
    "binary": (bytes(range(256)) * 8, "bad.csv|binary|--data.path"),
    "Latin-1 header": ("x,é,y\n1,2,3\n".encode("latin-1"), "bad.csv|UTF-8|--data.encoding latin-1"),
    "Latin-1 cell": ((HEADER + "1,é,3\n").encode("latin-1"), "bad.csv|'1,é,3'|UTF-8|--data.encoding latin-1"),
    "Parquet": (GOOD, "bad.csv|Parquet|.parquet"),
}
PARQUETS = {
    "empty": (b"", "bad.parquet|empty|--data.path"),
    "no rows": (
        parquet(x=pa.array([], pa.float64()), y=pa.array([], pa.float64())),
        "bad.parquet|not a single row of values",
    ),
    "NaN": (parquet(x=[1.0, float("nan")], y=[1.0, 2.0]), "bad.parquet|'x'|row 2|a value is missing|1 of 2 rows"),
    "infinity": (parquet(x=[1.0, 2.0], y=[float("inf"), 2.0]), "bad.parquet|'y'|row 1|inf"),
    "null": (parquet(x=[1.0, None, None], y=[1.0, 2.0, 3.0]), "bad.parquet|'x'|row 2|missing|2 of 3 rows"),
    "nothing but null": (parquet(x=[None, None], y=[1.0, 2.0]), "bad.parquet|no column is left|'x' is empty"),
    "lists": (parquet(x=[[1.0], [2.0]], y=[1.0, 2.0]), "bad.parquet|'x'|list|--data.exclude '[x]'"),
    "too large for float32": (parquet(x=[1.0, 1e300], y=[1.0, 2.0]), "bad.parquet|'x'|row 2|1e+300|float32"),
    "cut off": (GOOD[:-10], "bad.parquet|cut off or damaged"),
    "damaged": (GOOD[:4] + bytes(60) + GOOD[64:], "bad.parquet|cut off or damaged"),
    "CSV": (TABLE.encode(), "bad.parquet|not a Parquet file|.csv"),
}
PATHS = {
    "missing.csv": "missing.csv|no such file|--data.path",
    "missing.parquet": "missing.parquet|no such file|--data.path",
    "nowhere/table.csv": "nowhere/table.csv|no such file",
    "folder.csv": "folder.csv|folder|--data.path",
    "folder.parquet": "folder.parquet|folder|--data.path",
    "table.md": "table.md|.csv,|.parquet|--data.path",
    "table": "table|.csv,|.parquet|--data.path",
}
CHOICES = {
    "--data.target w": "table.csv|'w'|'x', 'z', 'y'|--data.target",
    "--data.features [x,w]": "table.csv|'w'|'x', 'z', 'y'|--data.features",
    "--data.features [x,x]": "'x'|more than once|--data.features",
    "--data.features [x,y]": "'y'|feature|target|--data.features",
    "--data.target [y,y]": "'y'|more than once|--data.target",
    "--data.target [x,z,y]": "no column is left|--data.features",
    "--data.target []": "--data.target",
    "--data.features []": "--data.features",
    "--data.weight y": "'y'|both a target and the weight|--data.weight",
    "--data.weight q": "table.csv|no column 'q'|--data.weight",
    "--data.val_fraction 0.5 --data.test_fraction 0.5": "leave no rows to fit|whose sum is below 1",
    "--data.val_path nowhere.csv": "nowhere.csv|no such file",
    "--data.batch_size 0": "batch_size is 0|20 rows|table.csv|--data.batch_size|from 1 to 20",
    "--data.batch_size -1": "batch_size is -1|20 rows|--data.batch_size",
    "--data.batch_size 21": "batch_size is 21|20 rows|--data.batch_size|from 1 to 20",
    "--data.val_fraction 1.5": "val_fraction is 1.5|--data.val_fraction",
    "--data.val_fraction -0.5": "val_fraction is -0.5|--data.val_fraction",
    "--data.val_fraction .nan": "val_fraction is nan|--data.val_fraction",
    "--data.val_fraction 1e-9": "--data.val_fraction 1e-09|20 rows|0 to validate",
    "--data.val_fraction 0.999999": "--data.val_fraction 0.999999|20 rows|0 to fit",
    "--data.seed -1": "seed is -1|--data.seed",
    "--data.shuffle maybe": "--data.shuffle|true or false|maybe",
    "--data.features xs": "there is no column 'xs'|'x', 'z', 'y'|--data.features",
    "--data.batch_size 2.5": "--data.batch_size|whole number|2.5",
}


@pytest.mark.parametrize(("content", "words"), CSVS.values(), ids=CSVS)
def test_csv(tmp_path: Path, content: str | bytes, words: str) -> None:
    (tmp_path / "bad.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    refuse("fit", *of_table("bad.csv"), cwd=tmp_path, words=words)


@pytest.mark.parametrize(("content", "words"), PARQUETS.values(), ids=PARQUETS)
def test_parquet(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.parquet").write_bytes(content)
    refuse("fit", *of_table("bad.parquet"), cwd=tmp_path, words=words)


@pytest.mark.parametrize(("path", "words"), PATHS.items(), ids=PATHS)
def test_path(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "table.md").write_text(TABLE)
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.parquet").mkdir()
    refuse("fit", *of_table(path), cwd=tmp_path, words=words)


@pytest.mark.parametrize(("flags", "words"), CHOICES.items(), ids=CHOICES)
def test_columns_and_batches(tmp_path: Path, flags: str, words: str) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    refuse("fit", *of_table("table.csv", *flags.split()), cwd=tmp_path, words=words)


# ---- settings ----

SETTINGS = {
    "fit --data.num_rows 0": "num_rows is 0|--data.num_rows",
    "fit --data.num_rows 1.5": "--data.num_rows|whole number|1.5",
    "fit --data.batch_size 0": "batch_size is 0|10000 rows|--data.batch_size",
    "fit --data.batch_size -5": "batch_size is -5|10000 rows|--data.batch_size",
    "fit --data.batch_size 10001": "batch_size is 10001|10000 rows|--data.batch_size|from 1 to 10000",
    "fit --data.noise_std -1": "noise_std is -1.0|--data.noise_std",
    "fit --data.noise_std .nan": "noise_std is nan|--data.noise_std",
    "fit --data.slope .inf": "slope is inf|--data.slope",
    "fit --data.seed -1": "seed is -1|--data.seed",
    "fit --model.l2 -1": "l2 is -1.0|--model.l2",
    "fit --model.l2 .nan": "l2 is nan|--model.l2",
    "fit --model.l2 nan": "--model.l2|finite number|nan",
    "fit --model.learning_rate 0": "learning_rate is 0.0|--model.learning_rate",
    "fit --model.learning_rate -1e-3": "learning_rate is -0.001|--model.learning_rate",
    "fit --model.learning_rate .nan": "learning_rate is nan|--model.learning_rate",
    "fit --model.learning_rate .inf": "learning_rate is inf|--model.learning_rate",
    "fit --model.learning_rate inf": "--model.learning_rate|finite number|inf",
    "fit --model.learning_rate abc": "--model.learning_rate|number|abc",
    "fit --model.learning_rate": "--model.learning_rate|value",
    "fit --model.learning_rate --model.l2 1": "--model.learning_rate|value",
    "fit --model.init_std -1": "init_std is -1.0|--model.init_std",
    "fit --model.init_seed -1": "init_seed is -1|--model.init_seed",
    "fit --model.num_features 3": "--model.num_features|data|leave it out",
    "fit --trainer.max_epochs 0": "max_epochs is 0|--trainer.max_epochs",
    "fit --trainer.max_epochs -1": "max_epochs is -1|--trainer.max_time|--stop.gap|--trainer.max_epochs 1 or more",
    "fit --trainer.max_steps 5 --trainer.max_epochs 0": "max_epochs is 0|--trainer.max_epochs",
    "fit --model.init_seed 99999999999999999999": "init_seed is 99999999999999999999|--model.init_seed",
    "fit --model.l1 auto": "--model.l1|auto|linreg path --l1 auto",
    "fit --model.momentum 1": "momentum is 1.0|--model.momentum|below 1",
    "fit --model.schedule cosin": "--model.schedule|'cosine'|found cosin",
    "fit --model.tail_averaging 2": "tail_averaging is 2.0|--model.tail_averaging|from 0 to 1",
    "fit --trainer.num_sanity_val_steps 2": "--trainer.num_sanity_val_steps 2|not possible|leave it out",
    "fit --trainer.max_time 10": "--trainer.max_time 10|DD:HH:MM:SS",
    "fit --stop.gap 0": "--stop.gap is 0.0|above 0",
    "fit --trainer.max_epochs ten": "--trainer.max_epochs|whole number|ten",
    "fit --trainer.max_steps 0": "max_steps is 0|--trainer.max_steps",
    "fit --display_every_n_epochs 0": "display_every_n_epochs is 0|--display_every_n_epochs",
    "fit --steps_per_execution 0": "steps_per_execution is 0|--steps_per_execution|or auto",
    "fit --steps_per_execution fast": "--steps_per_execution: expected a whole number or|auto|found fast",
    "fit --checkpoint_every_n_epochs 0": "checkpoint_every_n_epochs is 0|--checkpoint_every_n_epochs",
    "fit --checkpoint_every_n_epochs all": "--checkpoint_every_n_epochs|whole number|all",
    "fit --trainer.accelerator abacus": "--trainer.accelerator abacus|cpu",
    "fit --trainer.devices 0": "--trainer.devices 0",
    "fit --trainer.devices x": "--trainer.devices x|number of processes",
    "fit --trainer.strategy abacus": "--trainer.strategy abacus|auto",
    "fit --trainer.precision 17": "--trainer.precision|32-true|found 17",
    "fit --trainer.precision 16-mixed": "--trainer.precision 16-mixed|not possible|32-true",
    "fit --trainer.gradient_clip_val 1": "--trainer.gradient_clip_val 1|not possible|leave it out",
    "fit --trainer.accumulate_grad_batches 2": "--trainer.accumulate_grad_batches 2|not possible|--data.batch_size",
    "fit --trainer.log_every_n_steps 0": "--trainer.log_every_n_steps 0|1 or more",
    "fit --trainer.check_val_every_n_epoch 0": "--trainer.check_val_every_n_epoch 0|1 or more",
    "fit --trainer.val_check_interval 0": "--trainer.val_check_interval 0|more than 0",
    "fit --trainer.limit_train_batches 0": "--trainer.limit_train_batches 0|not possible|--trainer.max_steps",
    "fit --trainer.limit_train_batches 1.0": "--trainer.limit_train_batches 1.0|not possible|--trainer.max_steps",
    "fit --trainer.limit_train_batches 1": "--trainer.limit_train_batches 1|not possible|--trainer.max_steps",
    "fit --trainer.overfit_batches 1": "--trainer.overfit_batches 1|not possible|rows",
    "fit --trainer.logger Foo": "--trainer.logger|Foo",
    "fit --trainer.callbacks EarlyStopping": "--trainer.callbacks.monitor",
    f"fit {MONITOR} val/loss": "EarlyStopping|no rows are held out|--data.val_fraction",
    f"fit {MONITOR} train/loss": "--trainer.callbacks.monitor train/loss|EarlyStopping|val/loss",
    f"fit {MONITOR} val/loss --trainer.min_epochs 3": "--trainer.min_epochs 3|patience",
}
NAMES = {
    "fit --model.learning_rat 1": "--model.learning_rat;|did you mean --model.learning_rate?",
    "fit --learning_rate 1": "--learning_rate;|did you mean --model.learning_rate?",
    "fit --learning_rate=1": "--learning_rate;|did you mean --model.learning_rate?",
    "fit --l2 1": "--l2;|did you mean --model.l2?",
    "fit --epochs 3": "--epochs;|did you mean --trainer.max_epochs?",
    "fit --data.num_row 3": "--data.num_row;|did you mean --data.num_rows?",
    "fit --data TableDataModule --data.path table.csv --data.targt y": "--data.targt;|did you mean --data.target?",
    "fit --trainer.max_epoch 3": "--trainer.max_epoch;|did you mean --trainer.max_epochs?",
    "fit --displayevery_n_epochs 3": "--displayevery_n_epochs;|did you mean --display_every_n_epochs?",
    "fit --resum auto": "--resum;|did you mean --resume?",
    "fit --quux 1": "--quux|linreg fit --help",
    "fit --lr 0.1": "--lr;|did you mean --model.learning_rate?",
    "fit --model.lr 0.1": "--model.lr;|did you mean --model.learning_rate?",
    "fit --model.alpha 0.1": "--model.alpha;|did you mean --model.l2?",
    "tune --tune.lr [0.1,1]": "--tune.lr;|did you mean --tune.learning_rate?",
    "path --seed 3": "--seed;|did you mean --folds.seed?",
    "PATH": "there is no command PATH,|did you mean path?",
    "fit --model.learn 1": "--model.learn;|did you mean --model.learning_rate?",  # no flag can be abbreviated
    "fit --trainer.max_e 1": "--trainer.max_e;|did you mean --trainer.max_epochs?",
    "fit --res auto": "--res|no setting",
    "fit extra": "extra|two dashes|linreg fit --help",
    "describe table.csv": "table.csv: a setting begins with two dashes, as in --data.path table.csv",
    "fit --data TableDataModule --data.path table.csv --data.target": "the last of its flags --data.…: a value",
    "fti": "fti|did you mean fit?|validate, test, predict, solve, path, tune, describe, runs",
    "run": "there is no command run,|did you mean runs?",
    "plots": "there is no command plots,|did you mean plot?",
    "plot": "linreg plot|RUN|linreg plot --help",
    "plot lightning_logs/version_0 --dpi 300": "--dpi 300|linreg plot --help",
    "runs here there": "linreg runs|there|linreg runs --help",
    "": "command|fit, validate, test, predict, solve|linreg fit",
    "--vers": "--vers;|did you mean --version?",
    "--model.l2=1 fit": "--model.l2 belongs to a command|linreg fit --model.l2",
    "fit --data TabelDataModule": "--data|TabelDataModule|did you mean TableDataModule?",
    "fit --data table.csv": "--data table.csv|--data TableDataModule --data.path table.csv --data.target",
    "fit --data.path table.csv": "--data.path|TableDataModule has it|--data TableDataModule",
    "fit --data TableDataModule --data.target y": "missing|--data.path",
    "fit --data TableDataModule --data.path table.csv": "missing|--data.target",
    "fit --data TableDataModule": "missing|--data.path and --data.target",
    "fit --ckpt_path x.ckpt": "--ckpt_path|--resume",
    "validate": "linreg: validate needs a checkpoint|--ckpt_path",
    "test": "linreg: test needs a checkpoint|--ckpt_path",
    "predict": "linreg: predict needs a checkpoint|--ckpt_path",
    "predict --ckpt_path": "--ckpt_path|value",
    "validate --resume auto": "--resume|linreg validate --help",
}
CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no settings|--print_config"),
    "list": ("- model\n- data\n", "no settings|--print_config"),
    "text": ("learning_rate = 1\n", "no settings|--print_config"),
    "tab": ("model:\n\tl2: 1\n", "YAML|line 2|tab"),
    "bracket without end": ("trainer:\n  max_epochs: 1\n  callbacks: [\n", "YAML|line 4"),
    "binary": (b"\0\1\2", "YAML"),
    "Latin-1": ("# é\nmodel:\n  l2: 1\n".encode("latin-1"), "UTF-8"),
    "unknown section": ("modle:\n  l2: 1\n", "modle.l2;|did you mean --model.l2?"),
    "unknown setting": ("display_every_epoch: 1\n", "display_every_epoch;|did you mean --display_every_n_epochs?"),
    "unknown setting of the model": (
        "model:\n  learning_rat: 1\n",
        "model.learning_rat;|did you mean --model.learning",
    ),
    "unknown setting of the trainer": (
        "trainer:\n  max_epoch: 1\n",
        "trainer.max_epoch;|did you mean --trainer.max_epo",
    ),
    "unknown setting of the data": (
        "data:\n  class_path: TableDataModule\n  init_args:\n    path: table.csv\n    targt: y\n",
        "data.targt;|did you mean --data.target?",
    ),
    "setting of the other data": (
        "data:\n  path: table.csv\n",
        "data.path|TableDataModule has it: put --data TableDataModule before --config",
    ),
    "setting twice": ("model:\n  l2: 1\n  l1: 2\n  l2: 3\n", "line 4: l2 occurs a second time"),
    "section twice": ("model:\n  l2: 1\ntrainer:\n  max_epochs: 1\nmodel: {l1: 2}\n", "line 5: model occurs a second"),
    "setting beside init_args": ("data:\n  class_path: TableDataModule\n  path: table.csv\n", "data|init_args"),
    "settings of a command": ("fit:\n  model:\n    l2: 1\n", "fit.model.l2;|did you mean --model.l2?"),
    "unknown class": ("data:\n  class_path: TabelDataModule\n", "--data|TabelDataModule|did you mean TableDataModule?"),
    "wrong type": ("model:\n  l2: abc\n", "--model.l2|number|abc"),
    "wrong type of the trainer": ("trainer:\n  max_epochs: 1.5\n", "--trainer.max_epochs|whole number|1.5"),
    "wrong type of the data": ("data:\n  init_args:\n    num_rows: many\n", "--data.num_rows|whole number|many"),
    "no section": ("model: 3\n", "--model|settings|3"),
}


@pytest.mark.parametrize(("command", "words"), (SETTINGS | NAMES).items(), ids=SETTINGS | NAMES)
def test_flags(tmp_path: Path, command: str, words: str) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    refuse(*command.split(), cwd=tmp_path, words=words)


@pytest.mark.parametrize(("content", "words"), CONFIGS.values(), ids=CONFIGS)
def test_config_file(tmp_path: Path, content: str | bytes, words: str) -> None:
    (tmp_path / "settings.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    refuse("fit", "--config", "settings.yaml", cwd=tmp_path, words=f"settings.yaml: |{words}")


def test_missing_config_file(tmp_path: Path) -> None:
    refuse("fit", "--config", "settings.yaml", cwd=tmp_path, words="--config|settings.yaml|no file")
    refuse("fit", "--config", ".", cwd=tmp_path, words="--config|no file")
    refuse("fit", "--conf", "settings.yaml", cwd=tmp_path, words="--conf;|did you mean --config?")
    refuse("--config", "settings.yaml", "fit", cwd=tmp_path, words="--config belongs to a command|linreg fit --config")


def test_environment(tmp_path: Path) -> None:
    name = "LINREG_FIT__MODEL__LEARNING_RATE"
    refuse("fit", cwd=tmp_path, env={name: "abc"}, words=f"--model.learning_rate|number|abc|{name}")
    refuse("fit", cwd=tmp_path, env={name: "0"}, words="learning_rate is 0.0|--model.learning_rate")
    refuse("fit", cwd=tmp_path, env={"LINREG_FIT__CONFIG": "nowhere.yaml"}, words="--config|nowhere.yaml|no file")
    refuse("fit", cwd=tmp_path, env={"LINREG_FIT__RESUME": "auto"}, words="resume|environment|--resume")
    misspelt = "LINREG_FIT__MODEL__LEARNING_RAT"
    refuse(
        "fit", cwd=tmp_path, env={misspelt: "1"}, words=f"{misspelt}: there is no|did you mean --model.learning_rate?"
    )
    refuse(
        "solve",
        cwd=tmp_path,
        env={"LINREG_SOLVE__DATA__PATH": "t.csv"},
        words="one variable, LINREG_SOLVE__DATA, has all",
    )
    assert linreg("describe", "--help", cwd=tmp_path, env={misspelt: "1"}).code == 0


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_no_gpu(tmp_path: Path, accelerator: str) -> None:
    words = f"--trainer.accelerator {accelerator}|change it, or leave it out"
    refuse("fit", "--trainer.accelerator", accelerator, cwd=tmp_path, words=words)


# ---- places ----


@pytest.mark.parametrize("root", [".", "file", "file/below"])
def test_run_folder_below_a_file(tmp_path: Path, root: str) -> None:
    (tmp_path / "lightning_logs").write_text("in the way")
    (tmp_path / "file").write_text("in the way")
    flags = ("--trainer.default_root_dir", root)
    refuse("fit", *flags, cwd=tmp_path, words=f"{root.strip('.')}|--trainer.default_root_dir")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, where nobody can make a folder")
def test_unwritable_place(trained: Path) -> None:
    refuse(
        "fit", "--trainer.default_root_dir", "/proc/runs", cwd=trained, words="/proc/runs|--trainer.default_root_dir"
    )
    flags = ("--ckpt_path", CHECKPOINT, "--output", "/proc/predictions.csv")
    refuse("predict", *flags, cwd=trained, words="/proc/predictions.csv|--output")


@pytest.mark.parametrize("name", ["predictions.txt", "predictions", "nowhere/predictions.csv", "file/predictions.csv"])
def test_output(trained: Path, name: str) -> None:
    (trained / "file").write_text("in the way")
    refuse("predict", "--ckpt_path", CHECKPOINT, "--output", name, cwd=trained, words=f"{name}|--output")


def without_privileges() -> None:
    """Lets permissions hold for root too: gives up `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        version_3_of_this_process = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same of later capabilities
        libc.capget(version_3_of_this_process, sets)
        sets[0], sets[1] = sets[0] & ~0b110, sets[1] & ~0b110
        assert libc.capset(version_3_of_this_process, sets) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root can't give up its privileges here")
def test_permissions(trained: Path) -> None:
    before = contents(trained)
    predict = ("predict", "--ckpt_path", TABLE_CHECKPOINT)
    for name in ("table.csv", TABLE_CHECKPOINT, f"{TABLE_RUN}/config.yaml"):
        (trained / name).chmod(0o000)
        assert_refused(linreg(*predict, cwd=trained, before=without_privileges), f"{name}|ermission")
        (trained / name).chmod(0o600)
    for name, command in {"lightning_logs": ("fit",), ".": (*predict, "--output", "new.csv")}.items():
        (trained / name).chmod(0o500)
        assert_refused(linreg(*command, cwd=trained, before=without_privileges), "ermission|another place")
        (trained / name).chmod(0o700)
    assert contents(trained) == before


# ---- runs and checkpoints ----


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "table.csv").write_text(TABLE)
    epochs = ("--trainer.max_epochs", "2")
    for flags in ((), of_table("table.csv")):
        result = linreg("fit", *epochs, *flags, cwd=folder)
        assert result.code == 0, result.stderr
    return folder


@pytest.fixture
def trained(tmp_path: Path, trained_once: Path) -> Path:
    """Returns a folder with a table and two runs."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


class Code:
    """An object whose unpickling would write a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, ("code ran", "w")


def holding(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_a_flipped_bit(path: Path) -> None:
    """Damages a value of a tensor, where torch does not notice it."""
    with zipfile.ZipFile(path) as archive:
        record = next(entry for entry in archive.infolist() if entry.filename.endswith("/data/0"))
        value = archive.read(record)
    content = bytearray(path.read_bytes())
    content[content.index(value, record.header_offset)] ^= 1
    path.write_bytes(content)


def saved_again(changes: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Returns a function that saves a changed checkpoint, as a valid file of torch."""

    def save(path: Path) -> None:
        torch.save(changes(torch.load(path, weights_only=True)), path)

    return save


def with_weights(**weights: Any) -> Callable[[Path], None]:
    return saved_again(lambda checkpoint: checkpoint | {"state_dict": weights})


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "no such checkpoint"),
    "empty": (holding(b""), "damaged|older"),
    "cut off": (cut_off, "damaged|older"),
    "a flipped bit": (with_a_flipped_bit, "damaged|checksum|older"),
    "text": (holding(b"hello\n"), "damaged"),
    "pickled code": (holding(pickle.dumps(Code())), "damaged"),
    "saved code": (lambda path: torch.save({"state_dict": Code()}, path), "more than numbers and text"),
    "code among weights": (with_weights(W=Code(), b=torch.zeros(1)), "more than numbers and text"),
    "something else": (lambda path: torch.save([1, 2, 3], path), "no checkpoint of a linear regression"),
    "other weights": (with_weights(weight=torch.zeros(1, 1)), "no checkpoint of a linear regression"),
    "no weights": (with_weights(W=1, b=2), "no checkpoint of a linear regression"),
    "nothing in it": (
        saved_again(lambda checkpoint: checkpoint | {"state_dict": 3}),
        "no checkpoint of a linear regression",
    ),
    "weights alone": (saved_again(lambda checkpoint: {"state_dict": checkpoint["state_dict"]}), "another program"),
    "another shape": (with_weights(W=torch.zeros(3, 1), b=torch.zeros(1)), "shape|(3, 1)|(1, 1)"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_checkpoint(trained: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(trained / CHECKPOINT)
    refuse("predict", "--ckpt_path", CHECKPOINT, cwd=trained, words=f"{CHECKPOINT}: |{words}")


def test_checkpoint_to_resume(trained: Path) -> None:
    cut_off(trained / TABLE_CHECKPOINT)
    flags = ("--resume", TABLE_CHECKPOINT, "--trainer.max_epochs", "3")
    refuse("fit", *flags, cwd=trained, words=f"{TABLE_CHECKPOINT}: |damaged|older")


SYNTHETIC_CHECKPOINT_ON_THE_TABLE = f"predict --ckpt_path {CHECKPOINT} {' '.join(of_table('table.csv'))}"
OTHER_DATA = {
    "fewer features": (f"validate --ckpt_path {TABLE_CHECKPOINT} --data.features [x]", "(2, 1)|(1, 1)|--data.features"),
    "more features": (SYNTHETIC_CHECKPOINT_ON_THE_TABLE, "(1, 1)|(2, 1)|--data.features"),
    "other data": (f"predict --ckpt_path {TABLE_CHECKPOINT} --data SyntheticDataModule", "step=2.ckpt|(2, 1)|(1, 1)"),
    "other column": (
        f"{SYNTHETIC_CHECKPOINT_ON_THE_TABLE} --data.features [z]",
        f"{CHECKPOINT}: |'x' where|has 'z'|--data.features",
    ),
    "other order": (f"predict --ckpt_path {TABLE_CHECKPOINT} --data.features [z,x]", "'x', 'z' where|has 'z', 'x'"),
    "other target": (f"test --ckpt_path {TABLE_CHECKPOINT} --data.target z --data.features [x,y]", "has 'y'|'z' where"),
    "resumed with fewer": (f"fit --resume {TABLE_RUN} --data.features [x] --trainer.max_epochs 3", "(2, 1)|(1, 1)"),
    "resumed in other order": (
        f"fit --resume {TABLE_RUN} --data.features [z,x] --trainer.max_epochs 3",
        "has 'z', 'x'",
    ),
}


@pytest.mark.parametrize(("command", "words"), OTHER_DATA.values(), ids=OTHER_DATA)
def test_checkpoint_of_other_data(trained: Path, command: str, words: str) -> None:
    refuse(*command.split(), cwd=trained, words=words)


def test_nothing_to_resume(tmp_path: Path) -> None:
    refuse("fit", "--resume", "auto", cwd=tmp_path, words="lightning_logs|no interrupted run|linreg runs")
    refuse("fit", "--resume", "version_0", cwd=tmp_path, words="version_0|no such run or checkpoint|linreg runs")
    refuse("fit", "--resume", cwd=tmp_path, words="--resume|value")
    (tmp_path / "folder").mkdir()
    refuse("fit", "--resume", "folder", cwd=tmp_path, words="folder|no run|config.yaml|linreg runs")


def test_run_can_not_continue(trained: Path) -> None:
    refuse(
        "fit",
        "--resume",
        RUN,
        cwd=trained,
        words=f"{RUN}: this run is complete (2 epochs)|--trainer.max_epochs above 2",
    )
    refuse(
        "fit",
        "--resume",
        RUN,
        "--trainer.max_epochs",
        "1",
        cwd=trained,
        words="longer (2 epochs)|--trainer.max_epochs above 2",
    )
    more = ("--trainer.max_epochs", "3")
    config = trained / RUN / "config.yaml"
    settings = config.read_text()
    config.write_text("model: [\n")
    refuse("fit", "--resume", RUN, *more, cwd=trained, words=f"{RUN}/config.yaml|YAML|line")
    refuse("predict", "--ckpt_path", CHECKPOINT, cwd=trained, words=f"{RUN}/config.yaml|damaged|--data")
    config.write_text(settings + "modle: 3\n")
    refuse("fit", "--resume", RUN, *more, cwd=trained, words=f"{RUN}/config.yaml|modle")
    config.unlink()
    refuse("fit", "--resume", RUN, *more, cwd=trained, words=f"{RUN}|config.yaml|linreg runs")
    (trained / "table.csv").unlink()
    refuse("fit", "--resume", TABLE_RUN, *more, cwd=trained, words="table.csv|no such file|--data.path")
    refuse("predict", "--ckpt_path", TABLE_CHECKPOINT, cwd=trained, words="table.csv|no such file|--data.path")


# ---- and good input ----


@pytest.mark.parametrize("more", [(), ("--trainer.max_epochs", "-1"), ("--model.tail_averaging", "1")])
def test_steps_alone_are_a_length(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    flags = (*of_table("table.csv", "--data.batch_size", "5"), "--trainer.max_steps", "10", *more)
    result = linreg("fit", *flags, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "10 steps, 4 an epoch" in result.stdout


def test_help_succeeds(tmp_path: Path) -> None:
    for command in ("--help", "fit --help", "predict --help", "fit --data.help TableDataModule"):
        result = linreg(*command.split(), cwd=tmp_path)
        assert (result.code, result.stderr) == (0, ""), command
        assert result.stdout.startswith("usage:"), command
    assert contents(tmp_path) == {}


def test_printed_config_repeats_the_run(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    flags = ("fit", *of_table("table.csv"), "--model.learning_rate", "1e-3", "--trainer.max_epochs", "3")
    printed = linreg(*flags, "--print_config", cwd=tmp_path)
    assert (printed.code, printed.stderr) == (0, "")
    assert yaml.safe_load(printed.stdout)["model"]["learning_rate"] == 1e-3
    (tmp_path / "settings.yaml").write_text(printed.stdout)
    for command in (flags, ("fit", "--config", "settings.yaml")):
        result = linreg(*command, cwd=tmp_path)
        assert (result.code, result.stderr) == (0, "")
    by_flags, by_file = (tmp_path / run for run in (RUN, TABLE_RUN))
    for name in ("report.json", "config.yaml", "hparams.yaml"):
        assert (by_flags / name).read_text() == (by_file / name).read_text()


def test_debug_adds_the_traceback(tmp_path: Path) -> None:
    result = linreg("fit", "--debug", "--model.l2", "-1", cwd=tmp_path)
    assert result.code == 2
    assert result.stderr.startswith("Traceback")
    assert result.stderr.splitlines()[-1].startswith("linreg: l2 is -1.0")


def test_rule_at_epoch_end(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    flags = (*of_table("table.csv"), "--data.val_fraction", "0.2", *MONITOR.split(), "val/loss")
    late = "--trainer.callbacks.check_on_train_epoch_end"
    refuse("fit", *flags, late, "true", cwd=tmp_path, words=f"{late}|leave it out|EarlyStopping|validation")


@pytest.mark.parametrize("devices", ["2", "auto", "-1", "[0,1]"])
def test_several_processes(devices: str, tmp_path: Path) -> None:
    refuse("tune", f"--trainer.devices={devices}", cwd=tmp_path, words="--trainer.devices|one process")


def test_checkpoint_outside_a_run(trained: Path) -> None:
    shutil.copy(trained / CHECKPOINT, trained / "mine.ckpt")
    refuse("predict", "--ckpt_path", "mine.ckpt", cwd=trained, words="mine.ckpt|--data")
    refuse("test", "--ckpt_path", CHECKPOINT, "--model.l2", "3", cwd=trained, words="--model.l2|checkpoint")
