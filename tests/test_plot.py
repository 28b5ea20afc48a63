"""Checks what `linreg plot` draws, where it writes, and that the run stays unchanged, with the real command."""

import io
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.data.module import BatchDataModule
from linreg_pl.plots.run_data import record
from linreg_pl.runs.folder import checkpoints, step_of
from linreg_pl.runs.lock import lock
from tests.commands import linreg
from tests.runs import DIABETES, PLAIN, curves
from tests.sabotage import KillInSave
from tests.test_bad_input import refuse
from tests.test_tensorboard import served, tensorboard, until
from tests.trainers import Trajectory, plain_trainer

RUN = "lightning_logs/version_0"
ALL = {"curve", "fit", "residuals", "path"}
TABLE_FLAGS = (
    "--trainer.max_epochs",
    "50",
    "--data",
    "TableDataModule",
    "--data.path",
    "table.csv",
    *PLAIN,
    "--data.target",
)

JOBS = {
    "tutorial": (("--trainer.max_epochs", "100"), ALL),
    "standardized": (("--trainer.max_epochs", "20", "--exact", "false", "--model.standardize", "true"), ALL),
    "ten features": ((*TABLE_FLAGS, "progression", "--data.val_fraction", "0.2"), ALL - {"path"}),
    "two targets": ((*TABLE_FLAGS, "[progression, bmi]", "--data.features", "[age]"), ALL - {"path"}),
    "two features": ((*TABLE_FLAGS, "bp", "--data.features", "[age, bmi]", "--model.fit_intercept", "false"), ALL),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns `drawn(job)`: a folder in which a job was trained and drawn."""
    folders: dict[str, Path] = {}

    def draw(job: str) -> Path:
        if job not in folders:
            folders[job] = tmp_path_factory.mktemp("drawn")
            shutil.copy(DIABETES, folders[job] / "table.csv")
            fit(*JOBS[job][0], cwd=folders[job])
            plot(folders[job])
        return folders[job]

    return draw


@pytest.fixture
def folder(tmp_path: Path, drawn: Callable[[str], Path]) -> Path:
    """Copies the tutorial's folder, for a test to change."""
    shutil.copytree(drawn("tutorial"), tmp_path, dirs_exist_ok=True)
    return tmp_path


def fit(*flags: str, cwd: Path) -> None:
    result = linreg("fit", *flags, cwd=cwd)
    assert result.code == 0, result.stderr


def plot(folder: Path) -> None:
    result = linreg("plot", RUN, cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.endswith(f".png in {RUN}/plots, and among TensorBoard's images\n")


def files(folder: Path) -> dict[str, bytes]:
    """Reads the pictures in the run's folder."""
    return {path.stem: path.read_bytes() for path in (folder / RUN / "plots").iterdir()}


def images(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Reads the pictures in the run's event files, each with its step."""
    events = EventAccumulator(str(folder / RUN)).Reload()
    tags = events.Tags()["images"]
    return {tag: [(event.step, event.encoded_image_string) for event in events.Images(tag)] for tag in tags}


def pixels(png: bytes) -> np.ndarray:
    rgb: np.ndarray = np.rint(255 * imread(io.BytesIO(png), format="png")[..., :3]).astype(np.uint8)
    return rgb


def assert_shown_once(folder: Path) -> None:
    """Asserts that TensorBoard has each file as one image, at the newest checkpoint's step."""
    shown = images(folder)
    assert shown.keys() == {f"plots/{name}" for name in files(folder)}
    for name, file in files(folder).items():
        [(step, image)] = shown[f"plots/{name}"]
        assert step == step_of(checkpoints(folder / RUN)[-1])
        np.testing.assert_array_equal(pixels(image), pixels(file))


# ---- the pictures ----


def test_forecast_of_an_automatic_rate(tmp_path: Path) -> None:
    """The rate depends on the length of the run, too; until noise is left, the run follows the forecast."""
    table = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
    length = ("--data.batch_size", "100", "--trainer.max_epochs", "60", "--trainer.log_every_n_steps", "4")
    fit(*table, *length, cwd=tmp_path)
    drawn = record(tmp_path / RUN)
    steps, gaps = drawn.curves["gap/objective"].T.numpy()
    at, forecast = drawn.forecast_of_gap.T.numpy()
    expected = np.interp(steps, at, np.log(forecast))
    first = gaps > 0.05 * forecast[0]
    assert first.sum() >= 3
    assert np.abs(np.log(gaps) - expected)[first].max() < 0.2


@pytest.mark.parametrize("job", JOBS)
def test_pictures_in_folder_and_tensorboard(job: str, drawn: Callable[[str], Path]) -> None:
    folder = drawn(job)
    assert files(folder).keys() == JOBS[job][1]
    for file in files(folder).values():
        height, width, _ = pixels(file).shape
        assert 400 <= height <= 2000
        assert 500 <= width <= 2500
        assert len(file) < 150_000
        assert len(np.unique(pixels(file) @ np.array([65_536, 256, 1]))) > 10, "more than an empty page"
    assert_shown_once(folder)


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_open_tensorboard_follows_drawing(load_fast: str, folder: Path) -> None:
    def shown(tag: str) -> list[int]:
        images = server.get("/data/plugin/images/images", run="version_0", tag=tag, sample="0")
        return [image["step"] for image in images]

    with served(*tensorboard(load_fast, reload_interval=1), folder=folder, runs=["version_0"]) as server:
        until(lambda: server.get("/data/plugin/images/tags")["version_0"].keys(), {f"plots/{name}" for name in ALL})
        assert [shown(f"plots/{name}") for name in ALL] == [[200]] * len(ALL)
        plot(folder)
        fit("--resume", RUN, "--trainer.max_epochs", "150", cwd=folder)
        plot(folder)
        # The Python reader purges the steps that the resumed run repeats; the fast one keeps the older picture too.
        until(lambda: shown("plots/path"), [200, 300] if load_fast == "true" else [300])
        until(lambda: server.curves("version_0"), curves(folder / RUN))


def test_path_from_start_to_end(drawn: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for job in ("tutorial", "standardized", "two features"):
        monkeypatch.chdir(drawn(job))
        run = record(Path(RUN))
        untrained = LinearRegression.tutorial(**run.model.hparams)
        path, free = run.path, run.problem.optimum.free
        assert path is not None
        for point, module in ((path[0], untrained), (path[-1], run.model)):
            theta = torch.cat([module.b.unsqueeze(0), module.W])[free, 0].double()
            # The curves hold float32 in the user's units; b of centered columns is W times their means further.
            atol = 1e-6 + 1e-7 * float(run.model.scaling.target_means.abs().max())
            torch.testing.assert_close(point, theta, rtol=1e-5, atol=atol)


# ---- the run stays unchanged ----


def test_drawing_again_changes_nothing(folder: Path) -> None:
    before, points = files(folder), curves(folder / RUN)
    plot(folder)
    assert files(folder) == before
    assert curves(folder / RUN) == points
    assert_shown_once(folder)


def test_drawing_keeps_the_curves(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    untouched = tmp_path_factory.mktemp("untouched")
    fit("--trainer.max_epochs", "150", cwd=untouched)
    fit("--resume", RUN, "--trainer.max_epochs", "150", cwd=folder)
    assert curves(folder / RUN) == curves(untouched / RUN)
    plot(folder)
    assert curves(folder / RUN) == curves(untouched / RUN)
    assert_shown_once(folder)


def test_killed_run_is_drawn(tmp_path: Path) -> None:
    flags = ("fit", "--trainer.max_epochs", "30", "--checkpoint_every_n_epochs", "10")
    killed = linreg(*flags, cwd=tmp_path, before=KillInSave("before it is renamed", nth=2))
    assert killed.code == -signal.SIGKILL
    plot(tmp_path)
    assert files(tmp_path).keys() == ALL
    assert_shown_once(tmp_path)
    assert step_of(checkpoints(tmp_path / RUN)[-1]) == 20


# ---- refusals ----


def test_folder_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refuse("plot", "nothing", cwd=tmp_path, words="nothing|no such folder|linreg runs")
    refuse("plot", "auto", cwd=tmp_path, words="auto|no such folder|linreg runs")
    refuse("plot", "folder", cwd=tmp_path, words="folder|no run|config.yaml|linreg runs")


def test_run_without_a_good_checkpoint(folder: Path) -> None:
    for path in checkpoints(folder / RUN):
        path.write_bytes(b"")
    result = linreg("plot", RUN, cwd=folder)
    assert (result.code, result.stdout) == (2, "")
    assert "none of its checkpoints can be used" in result.stderr
    shutil.rmtree(folder / RUN / "checkpoints")
    refuse("plot", RUN, cwd=folder, words=f"{RUN}|no checkpoint|linreg fit --resume {RUN}")


def test_run_in_training(folder: Path) -> None:
    with lock(folder / RUN):
        refuse("plot", RUN, cwd=folder, words=f"{RUN}|another process is training")


@pytest.mark.parametrize("config", ["data: [", "model: {}", "data:\n  class_path: no.Data\n  init_args: {}"])
def test_damaged_config(config: str, folder: Path) -> None:
    (folder / RUN / "config.yaml").write_text(config)
    refuse("plot", RUN, cwd=folder, words=f"{RUN}/config.yaml|damaged")


def test_changed_table(drawn: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(drawn("ten features"), tmp_path, dirs_exist_ok=True)
    table = tmp_path / "table.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    refuse("plot", RUN, cwd=tmp_path, words=f"{RUN}|its data has changed since it was fitted|contents of the data")
    table.unlink()
    refuse("plot", RUN, cwd=tmp_path, words="table.csv|no such file")


def test_table_with_more_columns(tmp_path: Path) -> None:
    """The checkpoint determines the run's columns."""
    lines = DIABETES.read_text().splitlines()
    pictures = {}
    for name, with_more in (("narrow", False), ("wide", True)):
        (folder := tmp_path / name).mkdir()
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        fit(*TABLE_FLAGS, "progression", "--model.schedule", "constant", "--trainer.max_epochs", "10", cwd=folder)
        more = [",".join([f"{number}", line]) for number, line in enumerate(lines[1:])] if with_more else lines[1:]
        (folder / "table.csv").write_text("\n".join(["number," * with_more + lines[0], *more]) + "\n")
        fit("--resume", RUN, "--trainer.max_epochs", "20", cwd=folder)
        plot(folder)
        pictures[name] = files(folder)
    assert pictures["wide"] == pictures["narrow"]


# ---- the forecast of the gap ----


def line(folder: Path) -> BatchDataModule:
    return SyntheticDataModule(num_rows=20, batch_size=5, slope=0.5, noise_std=0)


def table(folder: Path) -> BatchDataModule:
    """Returns noise-free rows in equal, fixed batches."""
    x = np.random.default_rng(0).integers(-8, 8, (6, 3))
    rows = np.column_stack([x, x @ [2, -1, 4] + 3])
    np.savetxt(folder / "exact.csv", np.vstack([rows] * 4), delimiter=",", header="a,b,c,y", comments="")
    return TableDataModule(str(folder / "exact.csv"), "y", batch_size=6, shuffle=False)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("make", [line, table])
def test_forecast_of_the_gap_equals_descent(
    make: Callable[[Path], BatchDataModule], momentum: float, standardize: bool, tmp_path: Path
) -> None:
    data, epochs = make(tmp_path), 12
    data.setup("fit")
    module = LinearRegression.tutorial(
        data.num_features, learning_rate="auto", l2=0, momentum=momentum, standardize=standardize, init_std=1.0
    )
    W, b = module.W.detach().clone(), module.b.detach().clone()
    trajectory = Trajectory()
    plain_trainer(epochs, trajectory, precision="64-true").fit(module, data)

    problem = module.problem(data)
    gaps = problem.forecast_of_gap(problem.errors(W, b), 3, 4, module.learning_rate, momentum)
    for epoch, expected in zip(range(3, 13, 3), gaps[1:].tolist(), strict=True):
        step = epoch * data.steps_per_epoch - 1
        errors = problem.errors(trajectory.W[step], trajectory.b[step])
        factor, free = problem.optimum.factor_of(problem.scaling), problem.optimum.free
        # θ is rounded to 1e-16 of its size, so the gap, which starts at about 1, to about the square of that.
        assert float((factor @ errors[free]).square().sum()) == pytest.approx(expected, rel=1e-6, abs=1e-20)
    assert 0 < gaps[-1] < gaps[0]

    if make is table:  # a step on any of these batches equals one on all rows
        random_batches = replace(problem, is_cycle=False)
        again = random_batches.forecast_of_gap(problem.errors(W, b), 3, 4, module.learning_rate, momentum)
        torch.testing.assert_close(again, gaps, rtol=1e-6, atol=1e-20)
