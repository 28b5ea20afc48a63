"""The table of several runs: each number against scikit-learn; `-` for what a run does not have."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from linreg_pl import LinearRegression
from tests.commands import linreg
from tests.finished_runs import FEATURES, RUN, Parts, fit, scores, write_parts
from tests.test_bad_input import refuse

SECOND, THIRD = (RUN.replace("_0", f"_{number}") for number in (1, 2))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parts]:
    """Returns a folder with three runs: with held-out rows, with a penalty, and without held-out rows."""
    folder = tmp_path_factory.mktemp("made")
    parts = write_parts(folder)
    fit(folder)
    fit(folder, "--model.l2", "0.5", "--model.learning_rate", "0.3", "--trainer.max_epochs", "12")
    fit(folder, "--exact", "false", "--trainer.max_epochs", "7", held_out=False)
    return folder, parts


@pytest.fixture
def folder(tmp_path: Path, made: tuple[Path, Parts]) -> Path:
    """Copies the runs, for a test to change."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def compared(folder: Path, *runs: str, stderr: str = "") -> dict[str, list[str]]:
    """Returns the numbers of each run in the printed table, whose columns end below their titles."""
    result = linreg("compare", *runs, cwd=folder)
    assert result.code == 0
    assert result.stderr == stderr if not stderr else stderr in result.stderr
    header, *lines = result.stdout.splitlines()
    assert header.split("  ")[0] == "run"
    titles = [
        "learning rate",
        "features",
        "rows",
        "loss",
        "val R²",
        "val RMSE",
        "test R²",
        "test RMSE",
        "l2",
        "l1",
        "steps",
    ]
    ends = [header.index(f" {title}") + 1 + len(title) for title in titles]
    for line in lines:
        assert len(line) == len(header)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for end in ends)
    return {name: texts for name, *texts in map(str.split, lines)}


def test_numbers_equal_scikit_learn(made: tuple[Path, Parts]) -> None:
    folder, parts = made
    table = compared(folder, THIRD, RUN, SECOND)
    assert list(table) == [THIRD, RUN, SECOND]
    for run, l2 in ((RUN, "0"), (SECOND, "0.5")):
        rate, features, rows, loss, val_r2, val_rmse, test_r2, test_rmse, penalty, l1, steps = table[run]
        assert (features, rows, penalty, l1) == ("3", "60", l2, "0")
        assert rate == ("0.3" if run == SECOND else "1"), "given, or half of the largest stable one"
        assert steps == ("12" if run == SECOND else "10")
        W, b = LinearRegression.load(folder / run).coefficients()
        theta = np.concatenate([b, W[:, 0]])
        for part, shown in ((parts.val, (val_r2, val_rmse)), (parts.test, (test_r2, test_rmse))):
            r2, mse = scores(part, theta)
            assert [float(text) for text in shown] == pytest.approx([r2, mse**0.5], rel=1e-5)
        deviations = parts.fit[FEATURES].std(ddof=0).to_numpy()
        penalized = scores(parts.fit, theta)[1] + float(l2) * float(np.square(np.asarray(W)[:, 0] * deviations).sum())
        assert float(loss) == pytest.approx(penalized, rel=1e-5)
    assert table[THIRD][1:] == ["3", "60", "-", "-", "-", "-", "-", "0", "0", "7"]
    assert table[RUN][3:8] != table[SECOND][3:8]


def test_changed_data(folder: Path) -> None:
    lines = (folder / "fit.csv").read_text().splitlines()
    (folder / "fit.csv").write_text("\n".join(lines[:-1]) + "\n")
    table = compared(folder, RUN, stderr=f"the test rows can't be evaluated: {RUN}: the data has changed")
    assert [text == "-" for text in table[RUN]] == [False] * 6 + [True] * 2 + [False] * 3
    (folder / "fit.csv").unlink()
    assert compared(folder, RUN, stderr="the test rows can't be evaluated: fit.csv")[RUN][6:8] == ["-", "-"]


def test_old_report_has_no_rows(folder: Path) -> None:
    """Before reports held the number of rows, a run with the exact solution has it in its checkpoint."""
    for run in (RUN, THIRD):
        report = folder / run / "report.json"
        report.write_text(report.read_text().replace('"num_rows": 60,', ""))
    table = compared(folder, RUN, THIRD)
    assert (table[RUN][2], table[THIRD][2]) == ("60", "-")


def test_bad_runs_are_refused(folder: Path) -> None:
    refuse("compare", cwd=folder, words="linreg compare|RUN|--help")
    refuse("compare", RUN, "nothing", cwd=folder, words="nothing|no such folder|linreg runs")
    refuse("compare", RUN, "lightning_logs", cwd=folder, words="lightning_logs|no run|config.yaml")
    (folder / SECOND / "report.json").unlink()
    refuse("compare", RUN, SECOND, cwd=folder, words=f"{SECOND}|not finished|linreg fit --resume {SECOND}")
