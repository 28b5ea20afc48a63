"""TensorBoard shows the right curves of runs of the real command, in each of its three readers.

The readers are `EventAccumulator` for the event files of a single run, and a served TensorBoard with `--load_fast true`
and `false`: programs in two languages, which treat the files of a resumed run differently.
"""

import csv
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.callbacks.tensorboard_view import layout, with_derived
from linreg_pl.data.module import BatchDataModule
from linreg_pl.runs.folder import checkpoints
from tests import runs
from tests.commands import linreg, outside_make
from tests.runs import PLAIN, Curves
from tests.sabotage import KillInSave
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[1]
DIABETES = str(REPOSITORY / "examples" / "diabetes.csv")

UNINTERRUPTED, RESUMED, REPEATED, KILLED = RUNS = ("version_0", "version_1", "version_2", "version_3")
"""Uninterrupted; stopped after 100 epochs and resumed; resumed from its oldest checkpoint; killed and resumed. Files of
the last two have points after the checkpoint, which the resumed run writes again."""

IN_THE_SECOND_SAVE = KillInSave("before it is renamed", nth=2)
"""Kills when all points up to this save are in the file, and the newest checkpoint is the one before."""


@dataclass(frozen=True)
class Job:
    """A job, and what TensorBoard must show of it."""

    flags: tuple[str, ...]
    epochs: int
    data: Callable[[], BatchDataModule]
    module: Callable[[], LinearRegression]
    parameters: tuple[str, ...]  # names of W's entries, then b's
    train_steps: list[int]
    val_steps: list[int]
    hparams: dict[str, float | str]

    @property
    def train_tags(self) -> list[str]:
        exact = ["gap/objective", "gap/grad_norm"]
        return ["train/loss", "train/mse", "train/grad_norm", *exact, *(f"params/{name}" for name in self.parameters)]

    @property
    def metrics(self) -> list[str]:
        return ["train/loss", "train/mse", *(["val/loss", "val/mse", "val/r2"] if self.val_steps else [])]

    @property
    def derived(self) -> dict[str, tuple[str, Callable[[float], float]]]:
        """Returns the curves that follow from others: the other curve, and the function of its values."""
        validation = {
            "convergence/log10_val_loss": ("val/loss", math.log10),
            "val/rmse": ("val/mse", math.sqrt),
        }
        return {
            "convergence/log10_train_loss": ("train/loss", math.log10),
            "convergence/log10_gap": ("gap/objective", math.log10),
            **(validation if self.val_steps else {}),
        }

    @property
    def charts(self) -> dict[str, list[str]]:
        """Returns the curves of each chart of Custom Scalars, by the chart's title."""
        logarithms = [tag for tag in self.derived if tag.startswith("convergence/")]
        return {
            "log10 of the losses and of the gap": logarithms,
            "W": [f"params/{name}" for name in self.parameters[:-1]],
            "b": ["params/b"],
            "training and validation": ["train/loss", *(["val/loss"] if self.val_steps else [])],
        }


JOBS = {
    "tutorial": Job(
        flags=(),
        epochs=150,
        data=SyntheticDataModule,
        module=LinearRegression.tutorial,
        parameters=("W", "b"),
        train_steps=[2, 50, 100, 150, 200, 250, 300],  # two steps an epoch
        val_steps=[],
        hparams={"learning_rate": 1e-10, "l2": 1e-10, "batch_size": 5000, "num_rows": 10_000},
    ),
    "table": Job(
        flags=(
            *("--data", "TableDataModule", "--data.path", DIABETES, "--data.target", "progression", *PLAIN),
            *("--data.val_fraction", "0.2", "--model.learning_rate", "0.1", "--trainer.check_val_every_n_epoch", "10"),
        ),
        epochs=210,
        data=lambda: TableDataModule(DIABETES, "progression", val_fraction=0.2),
        module=lambda: LinearRegression.tutorial(num_features=10, learning_rate=0.1),
        parameters=(*(f"W/{name}" for name in ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]), "b"),
        train_steps=[1, 50, 100, 150, 200, 210],  # one step an epoch; the last is no multiple of 50
        val_steps=list(range(10, 211, 10)),
        hparams={"learning_rate": 0.1, "l2": 1e-10, "val_fraction": 0.2, "target": "progression"},
    ),
}

each_job = pytest.mark.parametrize("job", JOBS)
each_reader = pytest.mark.parametrize("reader", ["event files", "load_fast true", "load_fast false"])
each_server = pytest.mark.parametrize("reader", ["load_fast true", "load_fast false"])


# ---- the runs ----


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns a folder for each job, with its runs."""
    folders = {name: tmp_path_factory.mktemp(name) for name in JOBS}
    for name, job in JOBS.items():
        run_in_each_way(job, folders[name])
    return folders


def run_in_each_way(job: Job, folder: Path) -> None:
    logs, all_epochs = folder / "lightning_logs", ("--trainer.max_epochs", str(job.epochs))
    fit(*job.flags, *all_epochs, folder=folder)
    fit(*job.flags, "--trainer.max_epochs", "100", folder=folder)
    fit(*job.flags, *all_epochs, folder=folder)
    fit("--resume", str(logs / RESUMED), *all_epochs, folder=folder)
    fit("--resume", str(checkpoints(logs / REPEATED)[0]), *all_epochs, folder=folder)
    kill(job, folder=folder)
    fit("--resume", "auto", folder=folder)


def kill(job: Job, folder: Path) -> None:
    saves = ("--trainer.max_epochs", str(job.epochs), "--checkpoint_every_n_epochs", "60")
    killed = linreg("fit", *job.flags, *saves, cwd=folder, before=IN_THE_SECOND_SAVE)
    assert killed.code == -signal.SIGKILL, killed.stderr


def fit(*flags: str, folder: Path) -> None:
    result = linreg("fit", *flags, cwd=folder)
    assert result.code == 0, result.stderr


# ---- the readers ----


@dataclass(frozen=True)
class Server:
    """A TensorBoard that listens at `address`."""

    address: str

    def get(self, path: str, **query: str) -> Any:
        return self._answer(f"{path}?{urllib.parse.urlencode(query)}")

    def post(self, path: str, body: Any) -> Any:
        return self._answer(path, json.dumps(body).encode())

    def curves(self, run: str) -> Curves:
        tags = self.get("/data/plugin/scalars/tags")[run]
        series = {tag: self.get("/data/plugin/scalars/scalars", run=run, tag=tag) for tag in tags}
        return {tag: [(step, value) for _, step, value in points] for tag, points in series.items()}

    def _answer(self, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=PATIENCE) as response:
            return json.load(response)


@contextmanager
def served(*command: str, folder: Path, runs: Sequence[str] = RUNS) -> Iterator[Server]:
    """Starts TensorBoard by `command` in `folder`, waits until it has read the `runs`, and ends it afterwards."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        process = subprocess.Popen(
            command, cwd=folder, env=outside_make(), stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield until_ready(Path(file.name), process, runs)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def until_ready(output: Path, process: "subprocess.Popen[bytes]", runs: Sequence[str]) -> Server:
    """Waits until each run has points: both readers show a run's tags only once they have read its files."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        printed = re.search(r"TensorBoard \S+ at (http://\S+)/ ", output.read_text())
        if printed:
            server = Server(printed[1])
            tags = server.get("/data/plugin/scalars/tags")
            if all(tags.get(run) for run in runs):
                return server
        time.sleep(0.05)
    raise TimeoutError(f"TensorBoard shows no runs:\n{output.read_text()}")


def tensorboard(load_fast: str, reload_interval: int) -> tuple[str, ...]:
    """Returns the command that serves `lightning_logs` and reads it every `reload_interval` seconds; 0 for once."""
    return (
        *(str(Path(sys.executable).with_name("tensorboard")), "--logdir", "lightning_logs", "--host", "127.0.0.1"),
        *("--port", "0", "--load_fast", load_fast, "--reload_interval", str(reload_interval)),
    )


@pytest.fixture(scope="module")
def servers(folders: dict[str, Path]) -> Iterator[dict[tuple[str, str], Server]]:
    """Starts a TensorBoard for each job and each reader."""
    with ExitStack() as stack:
        yield {
            (f"load_fast {fast}", job): stack.enter_context(
                served(
                    *tensorboard(fast, reload_interval=0),
                    # The slow reader can read before it serves; the fast one can't.
                    *(("--reload_task", "blocking") if fast == "false" else ()),
                    folder=folder,
                )
            )
            for fast in ("true", "false")
            for job, folder in folders.items()
        }


@pytest.fixture(scope="module")
def curves(folders: dict[str, Path], servers: dict[tuple[str, str], Server]) -> Callable[[str, str, str], Curves]:
    """Returns the function `curves(reader, job, run)`, which gives all points that a reader shows."""

    @cache
    def read(reader: str, job: str, run: str) -> Curves:
        if reader != "event files":
            return servers[reader, job].curves(run)
        return runs.curves(folders[job] / "lightning_logs" / run)

    return read


AllCurves = Callable[[str, str, str], Curves]


# ---- the curves ----


@each_reader
@each_job
def test_tags_of_the_curves(job: str, reader: str, curves: AllCurves) -> None:
    expected = {*JOBS[job].train_tags, *JOBS[job].metrics, *JOBS[job].derived}
    for run in RUNS:
        assert curves(reader, job, run).keys() == expected


@each_reader
@each_job
def test_steps_of_the_points(job: str, reader: str, curves: AllCurves) -> None:
    shown = curves(reader, job, UNINTERRUPTED)
    for tag in JOBS[job].train_tags:
        assert [step for step, _ in shown[tag]] == JOBS[job].train_steps, tag
    for tag in JOBS[job].metrics[2:]:
        assert [step for step, _ in shown[tag]] == JOBS[job].val_steps, tag


@each_reader
@each_job
def test_derived_curves(job: str, reader: str, curves: AllCurves) -> None:
    shown = curves(reader, job, UNINTERRUPTED)
    for tag, (source, function) in JOBS[job].derived.items():
        assert [step for step, _ in shown[tag]] == [step for step, _ in shown[source]]
        for (_, value), (_, of) in zip(shown[tag], shown[source], strict=True):
            assert value == pytest.approx(function(of), rel=1e-6, abs=1e-6), tag  # both are rounded to float32


def test_zero_has_no_logarithm() -> None:
    assert with_derived({"gap/objective": 0.0, "train/loss": math.nan}).keys() == {"gap/objective", "train/loss"}
    assert with_derived({"gap/objective": 1e-3})["convergence/log10_gap"] == pytest.approx(-3)


@each_reader
@each_job
def test_values_follow_gradient_descent(job: str, reader: str, curves: AllCurves) -> None:
    shown, expected = curves(reader, job, UNINTERRUPTED), trajectory(job)
    for tag in {*JOBS[job].train_tags, *JOBS[job].metrics}:
        # float32 against float64: it rounds by 6e-8, and 2e-6 of a value remained of all sums and steps. A coefficient
        # on its way through zero keeps the rounding of its larger values: 3e-7 of the largest remained. What one step
        # changes at the curve's start is far more.
        largest = max(abs(at_step[tag]) for at_step in expected)
        for step, value in shown[tag]:
            approximately = pytest.approx(expected[step - 1][tag], rel=2e-5, abs=2e-6 * largest)
            assert value == approximately, f"{tag} at step {step}"


@cache
def trajectory(name: str) -> list[dict[str, float]]:
    """Computes what each step should show, in float64 by NumPy, from the same batches and the same start."""
    job = JOBS[name]
    data, module = job.data(), job.module()
    data.setup("fit")
    W, b = module.W.detach().double().numpy(), module.b.detach().double().numpy()
    rows, targets = (tensor.double().numpy() for tensor in next(iter(data.rows())))
    exact = Ridge(alpha=len(rows) * module.l2, solver="svd").fit(rows, targets)
    best_W, best_b = exact.coef_.reshape(-1, 1), exact.intercept_
    expected: list[dict[str, float]] = []
    for step in range(job.train_steps[-1]):
        x, y = (tensor.double().numpy() for tensor in data.batch(*divmod(step, data.steps_per_epoch)))
        mse = np.mean((x @ W + b - y) ** 2)
        loss = mse + module.l2 * np.sum(W**2)
        gradient_W = 2 * x.T @ (x @ W + b - y) / len(x) + 2 * module.l2 * W
        gradient_b = 2 * np.mean(x @ W + b - y, axis=0)
        W, b = W - module.learning_rate * gradient_W, b - module.learning_rate * gradient_b
        # J is quadratic: what its gradient is made of at the best coefficients is nothing, and only squares are left.
        away = rows @ (W - best_W) + b - best_b
        full_W = 2 * rows.T @ away / len(rows) + 2 * module.l2 * (W - best_W)
        full_b = 2 * np.mean(away, axis=0)
        expected.append(
            {
                "gap/objective": np.mean(away**2) + module.l2 * np.sum((W - best_W) ** 2),
                "gap/grad_norm": np.sqrt(np.sum(full_W**2) + np.sum(full_b**2)),
                "train/loss": loss,
                "train/mse": mse,
                "train/grad_norm": np.sqrt(np.sum(gradient_W**2) + np.sum(gradient_b**2)),
                **{f"params/{name}": value for name, value in zip(job.parameters, [*W[:, 0], b[0]], strict=True)},
            }
        )
        if job.val_steps:
            [(x, y)] = [[tensor.double().numpy() for tensor in batch] for batch in data.val_dataloader()]
            mse = np.mean((x @ W + b - y) ** 2)
            r2 = 1 - mse / np.var(y)
            expected[-1] |= {"val/mse": mse, "val/loss": mse + module.l2 * np.sum(W**2), "val/r2": r2}
    return expected


@each_reader
@each_job
@pytest.mark.parametrize("run", [RESUMED, REPEATED, KILLED])
def test_resumed_curves_equal_uninterrupted_ones(run: str, job: str, reader: str, curves: AllCurves) -> None:
    assert curves(reader, job, run) == curves(reader, job, UNINTERRUPTED)  # bit for bit


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_open_tensorboard_drops_undone_points(load_fast: str, tmp_path: Path, curves: AllCurves) -> None:
    """A TensorBoard that has shown points after the last checkpoint replaces them when the run is resumed."""
    kill(JOBS["table"], folder=tmp_path)
    steps = {"train/loss": [1, 50, 100], "val/loss": list(range(10, 121, 10))}  # the kill came at step 120
    (saved,) = checkpoints(tmp_path / "lightning_logs" / "version_0")
    assert saved.name == "step=60.ckpt"
    with served(*tensorboard(load_fast, reload_interval=1), folder=tmp_path, runs=["version_0"]) as server:
        until(lambda: {tag: [step for step, _ in server.curves("version_0")[tag]] for tag in steps}, steps)
        fit("--resume", "auto", folder=tmp_path)
        until(lambda: server.curves("version_0"), curves("event files", "table", UNINTERRUPTED))


def until(shown: Callable[[], Any], expected: Any) -> None:
    """Waits until `expected` is shown: a reader looks for new points only now and then."""
    deadline = time.monotonic() + PATIENCE
    while (values := shown()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert values == expected


@each_job
def test_resumed_run_keeps_its_folder(job: str, folders: dict[str, Path]) -> None:
    assert sorted(path.name for path in (folders[job] / "lightning_logs").iterdir()) == list(RUNS)


def test_other_loggers_get_equal_points(tmp_path: Path) -> None:
    fit(
        *(*JOBS["table"].flags, "--trainer.max_epochs", "60"),
        *("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "csv"),
        folder=tmp_path,
    )
    (path,) = (tmp_path / "csv").rglob("metrics.csv")
    table: Curves = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            for tag in row.keys() - {"step"}:
                if row[tag]:
                    table.setdefault(tag, []).append((int(row["step"]), float(row[tag])))
    drawn = runs.curves(tmp_path / "lightning_logs" / "version_0")
    assert drawn.keys() - table.keys() == JOBS["table"].derived.keys()  # of TensorBoard alone
    drawn = {tag: points for tag, points in drawn.items() if tag not in JOBS["table"].derived}
    assert table.keys() == drawn.keys()
    for tag, points in drawn.items():  # TensorBoard's are float32
        assert [(step, float(np.float32(value))) for step, value in table[tag]] == points


# ---- the other tabs ----


@each_server
@each_job
def test_custom_charts(job: str, reader: str, servers: dict[tuple[str, str], Server], curves: AllCurves) -> None:
    server, plugin = servers[reader, job], "/data/plugin/custom_scalars"
    categories = server.get(f"{plugin}/layout")["category"]
    assert [category["title"] for category in categories] == ["convergence", "coefficients", "loss"]
    charts = {chart["title"]: chart["multiline"]["tag"] for category in categories for chart in category["chart"]}
    assert sum(len(category["chart"]) for category in categories) == len(charts), "no chart is there twice"
    assert list(charts) == list(JOBS[job].charts)
    for title, expressions in charts.items():
        drawn: Curves = {}
        for tag in expressions:  # a regular expression
            events = server.get(f"{plugin}/scalars", run=UNINTERRUPTED, tag=tag)["tag_to_events"]
            drawn |= {name: [(step, value) for _, step, value in points] for name, points in events.items()}
        shown = curves(reader, job, UNINTERRUPTED)
        assert drawn == {tag: shown[tag] for tag in JOBS[job].charts[title]}, title


@each_job
def test_layout_is_written_once(job: str, folders: dict[str, Path]) -> None:
    for run in RUNS:
        events = EventAccumulator(str(folders[job] / "lightning_logs" / run)).Reload()
        assert len(events.Tensors("custom_scalars__config__")) == 1, run


def test_charts_of_several_targets() -> None:
    """Each target has a chart of its weights; signs in its name have no meaning."""
    charts = {title: content[1] for charts in layout(["a+ (b)", "c"]).values() for title, content in charts.items()}
    for title, names in {
        "W, a+ (b)": ["params/W/age/a+ (b)", "params/W/a+ (b)"],
        "W, c": ["params/W/age/c", "params/W/c"],
        "b": ["params/b/a+ (b)", "params/b/c"],
    }.items():
        [expression] = charts[title]
        every = ["params/W/age/a+ (b)", "params/W/a+ (b)", "params/W/age/c", "params/W/c", "params/W/c/aa (b)"]
        every += ["params/b/a+ (b)", "params/b/c"]
        assert [name for name in every if re.match(expression, name)] == names


@each_server
@each_job
def test_hparams_tab(job: str, reader: str, servers: dict[tuple[str, str], Server], curves: AllCurves) -> None:
    server, plugin = servers[reader, job], "/data/plugin/hparams"
    experiment = server.post(f"{plugin}/experiment", {})
    names = ["val/mse", "train/loss", "val/rmse", "val/r2", "val/loss", "train/mse"]  # in every run: one run counts
    assert [metric["name"]["tag"] for metric in experiment["metricInfos"]] == names
    hparams = [hparam["name"] for hparam in experiment["hparamInfos"]]
    assert JOBS[job].hparams.keys() <= set(hparams)
    shown_at_first = ["l2", "learning_rate", "max_epochs", "momentum", "schedule"]
    assert hparams[:5] == shown_at_first

    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    everything = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": statuses, "colParams": []}
    rows = server.post(f"{plugin}/session_groups", everything)["sessionGroups"]
    assert sorted(row["name"] for row in rows) == list(RUNS)
    (data := JOBS[job].data()).setup("fit")
    num_rows = data.num_rows_to_fit
    for row in rows:
        assert JOBS[job].hparams.items() <= row["hparams"].items()
        metrics = {m["name"]["tag"]: (m["trainingStep"], m["value"]) for m in row["metricValues"]}
        shown = [name for name in names if name in {*JOBS[job].metrics, *JOBS[job].derived}]
        assert metrics == {tag: curves(reader, job, row["name"])[tag][-1] for tag in shown}
        assert row["hparams"]["fit_intercept"] is True
        assert row["hparams"]["num_rows"] == num_rows

    assert "hp_metric" not in json.dumps([experiment, rows])


# ---- make tensorboard ----


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="asks Linux who listens")
def test_make_tensorboard_serves_only_locally(folders: dict[str, Path]) -> None:
    folder = folders["tutorial"]
    for needed in (".venv", "requirements.lock", "requirements-torch.lock", "pyproject.toml"):
        (folder / needed).symlink_to(REPOSITORY / needed)
    make = ["make", "-f", str(REPOSITORY / "Makefile")]
    installed = subprocess.run([*make, "--question", ".venv/installed"], cwd=folder, env=outside_make())
    assert installed.returncode == 0, "make tensorboard would first install into .venv: run make test, not pytest"

    with served(*make, "tensorboard", "ARGS=--port 0", folder=folder) as server:
        assert server.curves(UNINTERRUPTED)["train/loss"][-1][0] == JOBS["tutorial"].train_steps[-1]
        port = urllib.parse.urlsplit(server.address).port
        assert listening_addresses(port) == {"127.0.0.1"}


def listening_addresses(port: int | None) -> set[str]:
    """Returns the addresses of this machine at which a process listens on `port`."""
    addresses = set()
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for _, local, _, state, *_ in (line.split() for line in lines):
            address, local_port = local.split(":")
            if state == "0A" and int(local_port, 16) == port:  # 0A: listening
                words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
                packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                addresses.add(socket.inet_ntop(family, packed))
    return addresses
