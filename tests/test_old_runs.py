"""Runs that version 0.1.0 began, before checkpoints had a format number, are resumed as if nothing had changed.

`old_runs/` holds two run folders of that version, killed on their way. `expected.json` holds the command, and where the
same run ended in that version when nothing interrupted it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints
from tests.commands import linreg
from tests.runs import DIABETES, RUN, curves

OLD_RUNS = Path(__file__).parent / "old_runs"
EXPECTED: dict[str, dict[str, Any]] = json.loads((OLD_RUNS / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_old_run_resumes(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    shutil.copytree(OLD_RUNS / name, tmp_path, dirs_exist_ok=True)
    shutil.copy(DIABETES, tmp_path)
    [old] = checkpoints(tmp_path / RUN)
    contents = read_checkpoint(old).contents
    assert (contents.format_version, contents.program_version) == (1, None)

    resumed = linreg("fit", "--resume", "auto", cwd=tmp_path)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert f"from step {contents.global_step} of {RUN}" in resumed.stdout

    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert (report["state"], report["global_step"]) == ("finished", expected["global_step"])
    # Since format 3, rows are standardized in float64 and rounded once, which changes float32's last digits.
    # Another processor adds float32 in another order: 6e-8 of a value a sum, 2e-6 after thousands of steps. A batch in
    # another order, or a momentum that was lost, changes the last loss by far more.
    assert report["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    largest = max(map(abs, expected["coefficients"].values()))
    assert report["coefficients"] == pytest.approx(expected["coefficients"], rel=1e-4, abs=1e-5 * largest)

    points = curves(tmp_path / RUN)
    begun_here = [tag for tag in points if tag.startswith("convergence/") or tag == "val/rmse"]
    new_steps = {step for tag in begun_here for step, _ in points.pop(tag)}
    assert min(new_steps) >= contents.global_step
    assert {tag: len(curve) for tag, curve in points.items()} == expected["points"]
    for tag, curve in points.items():
        steps = [step for step, _ in curve]
        assert steps == sorted(set(steps)), f"{tag} has a step twice"
    newest = read_checkpoint(checkpoints(tmp_path / RUN)[-1]).contents
    assert newest.format_version == 3


def test_old_table_is_plotted(tmp_path: Path) -> None:
    shutil.copytree(OLD_RUNS / "table", tmp_path, dirs_exist_ok=True)
    shutil.copy(DIABETES, tmp_path)
    plotted = linreg("plot", str(RUN), cwd=tmp_path)
    assert (plotted.code, plotted.stderr) == (0, "")


def test_changed_table_is_refused(tmp_path: Path) -> None:
    """The checksum of an old run is of float32 values: a change of the data is seen, and a resumed run keeps it."""
    shutil.copytree(OLD_RUNS / "table", tmp_path, dirs_exist_ok=True)
    table = tmp_path / DIABETES.name
    shutil.copy(DIABETES, table)
    stopped = linreg(
        "fit", "--resume", "auto", "--trainer.max_steps", "280", "--allow_changed_settings", "true", cwd=tmp_path
    )
    assert stopped.code == 0, stopped.stderr
    newest = checkpoints(tmp_path / RUN)[-1]
    data = read_checkpoint(newest).contents.data
    assert data is not None
    assert (data.fingerprint, data.values["checksum_type"]) == ("66b15604", "float32")

    header, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([header, first[:-1] + str((int(first[-1]) + 1) % 10), *rest]) + "\n")
    refused = linreg("fit", "--resume", str(newest.relative_to(tmp_path)), "--trainer.max_steps", "290", cwd=tmp_path)
    assert refused.code == 2
    assert "contents of the data: 66b15604, now" in refused.stderr


def test_old_class_path_resolves(tmp_path: Path) -> None:
    """A config may name the class by the module that it was in."""
    shutil.copytree(OLD_RUNS / "table", tmp_path, dirs_exist_ok=True)
    shutil.copy(DIABETES, tmp_path)
    config = tmp_path / RUN / "config.yaml"
    short, long = "class_path: linreg_pl.TableDataModule", "class_path: linreg_pl.data.table.TableDataModule"
    assert config.read_text().count(short) == 1
    config.write_text(config.read_text().replace(short, long))
    resumed = linreg("fit", "--resume", str(RUN), "--trainer.max_time", "00:00:00:00", cwd=tmp_path)
    assert "from step 270" in resumed.stdout, resumed.stderr
