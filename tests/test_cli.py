"""The command as a user meets it: real processes, real folders, a real terminal."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
import yaml

import linreg_pl
from linreg_pl import LinearRegression, SyntheticDataModule
from linreg_pl.cli.command import LinregCLI
from linreg_pl.cli.data_classes import ROWS, data_classes
from tests.commands import linreg, run_python, start
from tests.runs import DIABETES, PLAIN
from tests.waiting import wait_until

RUN = Path("lightning_logs") / "version_0"
NUMBER = r"-?\d+\.\d{3}"


def saved(folder: Path, step: int) -> dict[str, Any]:
    """Opens a run's checkpoint with torch alone."""
    path = folder / RUN / "checkpoints" / f"step={step}.ckpt"
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs the tutorial's job without flags; returns its folder and its output."""
    folder = tmp_path_factory.mktemp("tutorial")
    result = linreg("fit", cwd=folder)
    assert result.code == 0, result.stderr
    assert result.stderr == "", "no warning is left on screen"
    return folder, result.stdout


def test_tutorial_prints_twenty_lines(tutorial: tuple[Path, str]) -> None:
    lines = re.findall(rf"^epoch +(\d+)   loss +({NUMBER})   W ({NUMBER})   b ({NUMBER})$", tutorial[1], re.MULTILINE)
    assert [int(epoch) for epoch, *_ in lines] == list(range(0, 2000, 100))
    loss, W, b = (np.array([float(line[column]) for line in lines]) for column in (1, 2, 3))
    # The tutorial's own run; its noise and its start differ, the start by up to 0.04 of 3.657.
    assert loss[0] == pytest.approx(7.8e8, rel=0.03)
    assert loss[1] == pytest.approx(5.37e7, rel=0.03)
    assert loss[2] == pytest.approx(3.68e6, rel=0.03)
    assert loss[5] == pytest.approx(1186, rel=0.03)
    assert loss[10:] == pytest.approx(0.33**2, rel=0.1)
    assert list(W[7:]) == [3.657] * 13
    assert np.ptp(b) <= 0.0011, "the bias hardly moves"


def test_tutorial_names_the_next_steps(tutorial: tuple[Path, str]) -> None:
    first, header, *end = tutorial[1].splitlines()[-9:]
    assert first == "fitted in 4000 steps (2000 epochs)"
    assert header.strip() == "epoch when 99% of the initial error is gone:"
    assert end[0].split() == ["fitted", "exact", "s.e.", "off", "forecast", "actual"]
    # 51.72 epochs halve the error in W: log2(100) of them leave 1%, and the run measures it every 25.
    assert re.fullmatch(r"  W +3\.65\d+ +3\.657 +\d+\.\d{3} +344 +350", end[1])
    assert re.fullmatch(r"  b +-?0\.0\d+ +0 +0\.\d{3} +4\.\de10 +-", end[2])
    assert re.fullmatch(r"gap +0\.00\d+ above the exact loss, 0\.1089: \d\.\d+e-09% of the variance explained", end[3])
    assert re.fullmatch(rf"run +{RUN}", end[4])
    assert re.fullmatch(r"curves +\S*tensorboard --logdir lightning_logs --host 127\.0\.0\.1", end[5])
    assert re.fullmatch(rf"go on +\S*linreg fit --resume {RUN} --trainer\.max_epochs 4000", end[6])


def test_tutorial_leaves_a_run_folder(tutorial: tuple[Path, str]) -> None:
    folder = tutorial[0]
    assert [path.name for path in folder.iterdir()] == ["lightning_logs"]
    names = sorted(re.sub(r"tfevents.*", "tfevents", path.name) for path in (folder / RUN).iterdir())
    assert names == [".lock", "checkpoints", "config.yaml", "events.out.tfevents", "hparams.yaml", "report.json"]
    checkpoints = sorted(path.name for path in (folder / RUN / "checkpoints").iterdir())
    assert checkpoints == ["step=3600.ckpt", "step=3800.ckpt", "step=4000.ckpt"]


def test_checkpoint_contents(tutorial: tuple[Path, str]) -> None:
    checkpoint = saved(tutorial[0], 4000)
    assert checkpoint["global_step"] == 4000
    assert set(checkpoint["state_dict"]) == {"W", "b"}
    assert checkpoint["state_dict"]["W"].shape == (1, 1)
    assert checkpoint["state_dict"]["b"].shape == (1,)
    assert checkpoint["state_dict"]["W"].item() == pytest.approx(3.657, abs=5e-4)
    plain = (int, float, str, bool)
    assert all(isinstance(value, plain) for value in checkpoint["hyper_parameters"].values())
    assert checkpoint["hyper_parameters"] == {
        "num_features": 1,
        "num_targets": 1,
        "learning_rate": 1e-10,
        "l2": 1e-10,
        "l1": 0.0,
        "momentum": 0.0,
        "schedule": "constant",
        "tail_averaging": 0.0,
        "fit_intercept": True,
        "fold_bias": False,
        "standardize": False,
        "precondition": False,
        "start_at_mean": False,
        "init_std": 0.01,
        "init_seed": 0,
    }


def test_report_has_the_coefficients(tutorial: tuple[Path, str]) -> None:
    report = json.loads((tutorial[0] / RUN / "report.json").read_text())
    state = saved(tutorial[0], 4000)["state_dict"]
    assert report["coefficients"] == {"W": state["W"].item(), "b": state["b"].item()}
    assert (report["global_step"], report["epochs"]) == (4000, 2000)
    assert report["loss"] == pytest.approx(0.33**2, rel=0.1)


def test_module_loads_from_the_checkpoint(tutorial: tuple[Path, str]) -> None:
    path = tutorial[0] / RUN / "checkpoints" / "step=4000.ckpt"
    module = LinearRegression.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert module(torch.tensor([[1000.0]])).item() == pytest.approx(3657, abs=0.5)


def test_evaluation_of_a_checkpoint(tutorial: tuple[Path, str]) -> None:
    folder, checkpoint = tutorial[0], str(RUN / "checkpoints" / "step=4000.ckpt")
    state = saved(folder, 4000)["state_dict"]
    W, b = state["W"].item(), state["b"].item()
    rows = SyntheticDataModule()
    for subcommand, stage, loader in (
        ("validate", "val", rows.val_dataloader()),
        ("test", "test", rows.test_dataloader()),
    ):
        result = linreg(subcommand, "--ckpt_path", checkpoint, cwd=folder)
        assert (result.code, result.stderr) == (0, "")
        printed = dict(line.split() for line in result.stdout.splitlines()[1:])
        ((x, y),) = loader
        mse = ((x.double() * W + b - y.double()) ** 2).mean().item()
        # x · W is near 36570 for the last rows, where float32 is good to 0.002; the residuals are near 0.33.
        assert float(printed[f"{stage}/mse"]) == pytest.approx(mse, rel=1e-2)
        assert float(printed[f"{stage}/loss"]) == pytest.approx(mse + 1e-10 * W**2, rel=1e-2)

    for name, read in (("p.csv", pyarrow.csv.read_csv), ("p.parquet", pyarrow.parquet.read_table)):
        result = linreg("predict", "--ckpt_path", checkpoint, "--output", name, cwd=folder)
        assert (result.code, result.stderr, result.stdout) == (0, "", f"10000 predictions in {name}\n")
        table = read(folder / name)
        assert table.column_names == ["y_predicted"]
        np.testing.assert_allclose(table["y_predicted"].to_numpy(), W * np.arange(10_000) + b, rtol=1e-6)
        (folder / name).unlink()
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"], "evaluation starts no run"
    assert [path.name for path in folder.iterdir()] == ["lightning_logs"]


def test_flag_beats_file_beats_environment(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("model:\n  l2: 0.2\n  init_std: 0.2\n")
    environment = {f"LINREG_FIT__MODEL__{name}": "0.1" for name in ("L2", "INIT_STD", "LEARNING_RATE")}
    result = linreg(
        "fit",
        *("--config", "settings.yaml", "--model.init_std", "0.3", "--trainer.max_epochs", "1", "--data.num_rows", "5"),
        *("--data.batch_size", "5", "--data.slope", "0.01"),
        cwd=tmp_path,
        env=environment,
    )
    assert result.code == 0, result.stderr
    model = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())["model"]
    assert (model["learning_rate"], model["l2"], model["init_std"]) == (0.1, 0.2, 0.3)
    hyper_parameters = saved(tmp_path, 1)["hyper_parameters"]
    assert [hyper_parameters[name] for name in ("learning_rate", "l2", "init_std")] == [0.1, 0.2, 0.3]


def test_config_repeats_the_run(tmp_path: Path) -> None:
    for arguments in (
        ("--trainer.max_epochs", "2", "--data.seed", "9", "--data.num_rows", "7000"),
        ("--config", str(RUN / "config.yaml")),
    ):
        assert linreg("fit", *arguments, cwd=tmp_path).code == 0
    first, second = (tmp_path / "lightning_logs" / f"version_{n}" for n in (0, 1))
    assert (first / "report.json").read_bytes() == (second / "report.json").read_bytes()
    assert (first / "config.yaml").read_bytes() == (second / "config.yaml").read_bytes()


def test_data_defaults_do_not_leak(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    result = linreg(
        "fit", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "b", "--print_config", cwd=tmp_path
    )
    assert yaml.safe_load(result.stdout)["data"]["init_args"]["batch_size"] is None


@pytest.mark.parametrize("command", ["fit", "tune", "solve", "predict"])
def test_parser_forgets_the_call_before(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One process, as of a study, builds the parser once: defaults of one kind of data must not reach another."""

    def settings(*flags: str) -> str:
        with pytest.raises(SystemExit):
            LinregCLI(command, [*flags, "--print_config"])
        return capsys.readouterr().out

    table = "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y"
    of_tutorial, of_table = settings(), settings(*table)
    assert len(of_tutorial) > 1000
    assert of_tutorial != of_table
    assert (settings(), settings(*table)) == (of_tutorial, of_table)


def test_run_without_files(tmp_path: Path) -> None:
    for steps, arguments in (
        (2, ("--trainer.logger", "false", "--trainer.max_epochs", "1")),
        (1, ("--trainer.fast_dev_run", "true")),
    ):
        result = linreg("fit", *arguments, cwd=tmp_path)
        assert result.code == 0, result.stderr
        words = "1 step" if steps == 1 else f"{steps} steps"
        assert result.stdout.startswith(f"fitting 10000 rows, 1 feature, 1 target: {words}, 2 an epoch\n")
        assert f"fitted in {words} " in result.stdout
        assert list(tmp_path.iterdir()) == []


@dataclass
class InTerminal:
    """Connects the process to a terminal, and then calls `before`."""

    name: str
    before: Callable[[], None] | None

    def __call__(self) -> None:
        terminal = os.open(self.name, os.O_RDWR | os.O_NOCTTY)
        for stream in (0, 1, 2):
            os.dup2(terminal, stream)
        if self.before is not None:
            self.before()


def in_terminal(*args: str, cwd: Path, before: Callable[[], None] | None = None) -> tuple[int, str]:
    """Runs `linreg args…` in a terminal of 100 columns; returns its exit code and all that it drew."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    running = start(*args, cwd=cwd, env=environment, before=InTerminal(os.ttyname(slave), before))
    drawn, alive = b"", True
    while alive or select.select([master], [], [], 0)[0]:
        alive = running.process.is_alive()
        if select.select([master], [], [], 0.1)[0]:
            drawn += os.read(master, 65536)
    os.close(slave)
    os.close(master)
    return running.wait().code, drawn.decode()


def test_terminal_has_one_bar(tmp_path: Path) -> None:
    length = ("--trainer.max_epochs", "3000", "--display_every_n_epochs", "500")  # of a second, some ten frames
    code, drawn = in_terminal("fit", *length, cwd=tmp_path)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r\n", "\n").replace("\r", "\n")
    bars = re.findall(r"epoch (\d+)/3000 .*?loss \S+ +([\d,]+) steps/s +\S+", text)
    assert len(bars) > 3
    epochs = [int(epoch) for epoch, _ in bars]
    assert epochs == sorted(epochs), "one bar, from the first epoch to the last"
    assert len(set(epochs)) > 2
    lines = re.findall(r"^epoch +(\d+)   loss .*   W .*   b .*$", text, re.MULTILINE)
    assert lines == ["0", "500", "1000", "1500", "2000", "2500"]
    assert "\x1b[?25h" in drawn, "the cursor comes back"
    last_frame = text.rstrip().splitlines()[-9:]
    assert last_frame[0].startswith("fitted in 6000 steps"), "the bar is gone when the result is shown"


def test_version(tmp_path: Path) -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    result = linreg("--version", cwd=tmp_path)
    assert (result.code, result.stdout, result.stderr) == (0, f"linreg {project['version']}\n", "")


SIGNAL_IN_IMPORT = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.nn":  # by then torch's libraries are loaded, and the imports are half-way
            os.kill(os.getpid(), int(os.environ["SIGNAL_IN_IMPORT"]))

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("command", "number"), [(("linreg",), signal.SIGTERM), (("python", "-m", "linreg_pl"), signal.SIGINT)]
)
def test_signal_during_imports(command: tuple[str, ...], number: signal.Signals, tmp_path: Path) -> None:
    (hooks := tmp_path / "hooks").mkdir()
    (folder := tmp_path / "folder").mkdir()
    (hooks / "sitecustomize.py").write_text(SIGNAL_IN_IMPORT)  # which Python imports when it starts
    script = str(Path(sys.executable).with_name(command[0]))
    environment = {**os.environ, "PYTHONPATH": str(hooks), "SIGNAL_IN_IMPORT": str(int(number))}
    result = subprocess.run([script, *command[1:], "fit"], cwd=folder, env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 128 + number)
    assert list(folder.iterdir()) == []


SIGNAL_AT_EXIT = """
import atexit, os

atexit.register(lambda: os.kill(os.getpid(), int(os.environ["SIGNAL_AT_EXIT"])))
"""


SHORT_COMMANDS = itertools.product(["--version", "runs"], [signal.SIGTERM, signal.SIGINT])


@pytest.mark.parametrize(("command", "number"), [*SHORT_COMMANDS, ("solve --help", signal.SIGINT)])
def test_signal_while_python_shuts_down(command: str, number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_AT_EXIT)
    script = str(Path(sys.executable).with_name("linreg"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SIGNAL_AT_EXIT": str(int(number))}
    result = subprocess.run([script, *command.split()], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 128 + number
    assert result.stdout.count("\n") + result.stderr.count("\n") >= 1
    assert "Traceback" not in result.stderr


def test_run_out_of_time_is_unfinished(tmp_path: Path) -> None:
    endless = ("--trainer.max_epochs", "1000000", "--trainer.max_time", "00:00:00:01")
    result = linreg("fit", *endless, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert "stopped before step 2000000, after" in result.stdout
    assert not (tmp_path / RUN / "report.json").exists()
    for folders in ((), ("lightning_logs",)):
        assert "interrupted" in linreg("runs", *folders, cwd=tmp_path).stdout


def test_resumed_run_out_of_time_is_unfinished(tmp_path: Path) -> None:
    table = str(Path(__file__).parent.parent / "examples" / "diabetes.csv")
    job = (
        "--data",
        "TableDataModule",
        "--data.path",
        table,
        "--data.target",
        "progression",
        "--data.val_fraction",
        "0.1",
        *PLAIN,
    )
    rule = ("--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/mse")
    threshold, patience = "--trainer.callbacks.stopping_threshold", ("--trainer.callbacks.patience", "1000000")
    stopped = linreg("fit", *job, *rule, threshold, "1e6", *patience, cwd=tmp_path)
    assert "fitted in 1 step (1 epoch)\nstopped by EarlyStopping: Stopping threshold reached: val/mse" in stopped.stdout
    endless = ("--trainer.max_epochs", "1000000", "--trainer.max_time", "00:00:00:01")
    result = linreg("fit", "--resume", str(RUN), *rule, threshold, "0", *patience, *endless, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert "stopped before step 1000000, after" in result.stdout
    assert "interrupted" in linreg("runs", cwd=tmp_path).stdout


def test_tiny_learning_rate_is_reported(tmp_path: Path) -> None:
    table = str(Path(__file__).parent.parent / "examples" / "diabetes.csv")
    job = ("--data", "TableDataModule", "--data.path", table, "--data.target", "progression", *PLAIN)
    idle = linreg("fit", *job, "--model.learning_rate", "1e-10", "--trainer.max_epochs", "20", cwd=tmp_path)
    assert re.search(r"the loss has hardly moved from 29074\.\d: give a larger --model\.learning_rate", idle.stdout)
    busy = linreg("fit", *job, "--trainer.max_epochs", "20", "--model.learning_rate", "0.1", cwd=tmp_path)
    assert "hardly moved" not in busy.stdout


class PipeToHead:
    """Prints into a pipe, as in `linreg fit | head -1`."""

    def __call__(self) -> None:
        with subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE).stdin as pipe:  # type: ignore[union-attr]
            os.dup2(pipe.fileno(), sys.stdout.fileno())


def test_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    result = linreg("fit", cwd=tmp_path, before=PipeToHead())
    assert (result.code, result.stderr) == (141, "")
    assert re.fullmatch(r"fitting 10000 rows.*\n", result.stdout)


def test_closed_streams_are_as_if_nobody_reads(tmp_path: Path) -> None:
    """Without standard input and output, by as many processes as there are."""
    table = f"--data TableDataModule --data.path {DIABETES} --data.target progression --trainer.devices 2"
    script = Path(sys.executable).with_name("linreg")
    result = subprocess.run(
        ["sh", "-c", f"exec {script} solve {table} <&- >&-"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


WITHOUT_LIGHTNING = f"""
import contextlib
import sys
from linreg_pl.cli.main import main
import linreg_pl

slow = "lightning", "torchmetrics", "tensorboard", "matplotlib", "scipy", "torch._dynamo"
table = "--data TableDataModule --data.path {DIABETES} --data.target progression".split()
for flags in (["solve"], ["solve", *table], ["path", *table], ["describe", *table[2:]]):
    assert main(flags) == 0, flags
assert main(["solve", "--data", "linreg_pl.TableDataModule", *table[2:], "--json"]) == 0
for command in "solve", "path", "describe":
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
rows = r"{DIABETES}", "progression"
linreg_pl.solve(*rows).predict([[0.0] * 10], interval=0.9)
linreg_pl.path(*rows)
linreg_pl.subsets(*rows)
assert main(["solve", *table, *"--trainer.devices 2 --trainer.accelerator cpu".split()]) == 0
assert (found := [name for name in slow if name in sys.modules]) == [], found
"""


NOTE_MODULES = """
import atexit, os, sys

def note():
    with open("modules.tmp", "w") as file:
        print(*sys.modules, file=file)
    os.rename("modules.tmp", "modules")

if os.environ.get("LOCAL_RANK") == "1":
    atexit.register(note)
"""


def test_solves_without_lightning(tmp_path: Path) -> None:
    """Counts no time: in a process from nothing, neither Lightning nor what that imports is imported.

    Nor is it in a process that this one starts beside itself.
    """
    (tmp_path / "sitecustomize.py").write_text(NOTE_MODULES)  # which Python imports when it starts
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIGHTNING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    noted = tmp_path / "modules"
    wait_until(noted.exists)
    modules = noted.read_text().split()
    assert "torch.distributed" in modules
    assert not {"lightning", "torchmetrics", "tensorboard", "torch._dynamo"} & set(modules)


NAMING_A_DATA_MODULE = f"""
import os
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == "linreg_pl"]:
    del sys.modules[name]
from linreg_pl.cli.main import main

with open("data.yaml", "w") as file:
    file.write("class_path: TableDataModule\\ninit_args: {{path: {DIABETES}, target: progression}}")
broken = "{{class_path: TableDataModule"
for code, *flags in (0, "--data", "data.yaml"), (0, "--data.help", "TableDataModule"), (2, "--data", broken):
    if os.fork() == 0:
        assert "linreg_pl.data.table.module" not in sys.modules
        sys.exit(main(["solve", *flags]))
    assert os.waitstatus_to_exitcode(os.wait()[1]) == code, flags
"""


def test_solve_takes_all_that_names_a_data_module(tmp_path: Path) -> None:
    """Unlike in the commands of other tests, the data modules are not imported yet."""
    result = run_python(NAMING_A_DATA_MODULE, cwd=tmp_path)
    refused = "--data: expected a class that fits, found {class_path: TableDataModule"
    assert (result.code, result.stderr) == (0, f"linreg: {refused}; did you mean TableDataModule?\n")


def test_rows_have_the_names_of_their_data_modules() -> None:
    for name, rows in zip(ROWS, data_classes(), strict=True):
        module = getattr(linreg_pl, name)
        assert issubclass(module, rows)
        assert rows.module_name() == module.module_name() == name
        assert signature(rows) == signature(module)
        assert module.__doc__ == rows.__doc__
        with pytest.raises(TypeError, match=rf"^{name}\.__init__\(\) got an unexpected keyword argument 'rows'"):
            module(rows=3)


@pytest.mark.parametrize("args", ["--help", "--version", "fti", "--confg x", "", "runs", "runs --help", "runs a b"])
def test_answers_at_once(args: str, tmp_path: Path) -> None:
    """Counts no time: none of the packages that are slow to import is imported."""
    (tmp_path / RUN).mkdir(parents=True)
    (tmp_path / RUN / "config.yaml").write_text("model: {schedule: cosine}")
    (tmp_path / RUN / "report.json").write_text('{"state": "finished", "global_step": 20, "loss": 1.5}')
    program = """
import atexit, sys
from linreg_pl.__main__ import main
slow = "torch", "lightning", "numpy", "pandas", "pyarrow", "jsonargparse", "matplotlib", "tensorboard"
atexit.register(lambda: print([name for name in slow if name in sys.modules]))
sys.exit(main())
"""
    command = [sys.executable, "-c", program, *args.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == (0 if args in ("--help", "--version", "runs", "runs --help") else 2), result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    assert ("version_0  finished    20" in result.stdout) == (args == "runs")
