"""A run that is killed anywhere and resumed ends with the same bits and curves; damaged files are never loaded.

The processes and signals are real, and results are compared with a run that was never interrupted. `make torture`
runs the same tests in their full form.
"""

import errno
import http.server
import json
import math
import os
import pickle
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from linreg_pl.cli.error_messages import WriteError, writing
from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import read_checkpoint, tensors
from linreg_pl.runs.folder import checkpoints, read_report, run_state
from linreg_pl.runs.resume import newest_good_checkpoint
from linreg_pl.signals import Interrupted
from tests.commands import linreg, start
from tests.runs import DIABETES, JOBS, PLAIN, RUN, assert_same_end, curves, equal, newest
from tests.sabotage import PHASES, POINTS, ForbidFolder, FullDisk, KillInSave, SignalInPhase, Threads
from tests.waiting import wait_until

PARALLEL = {job: Threads(2) for job in ("exact", "default")}
"""Jobs of several threads: each sums in another order, and every process of a run needs as many."""


def resume_to_the_end(folder: Path, job: str) -> None:
    """Resumes the run, or starts it if it was killed before it had a config."""
    begun = (folder / RUN / "config.yaml").exists()
    if not begun:
        shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
    arguments = ("--resume", str(RUN)) if begun else JOBS[job]
    result = linreg("fit", *arguments, cwd=folder, before=PARALLEL.get(job))
    assert (result.code, result.stderr) == (0, "")


@pytest.fixture(scope="module")
def durations() -> dict[str, float]:
    """Returns how many seconds each job's uninterrupted run took."""
    return {}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, durations: dict[str, float]) -> Callable[[str], Path]:
    """Returns a function that gives the folder of a job's uninterrupted run."""
    folders: dict[str, Path] = {}

    def run(job: str) -> Path:
        if job not in folders:
            folders[job] = tmp_path_factory.mktemp(job)
            durations[job] = seconds_of("fit", *JOBS[job], folder=folders[job], before=PARALLEL.get(job))
        return folders[job]

    return run


@pytest.mark.parametrize("job", JOBS)
def test_random_kills(
    job: str, untouched: Callable[[str], Path], durations: dict[str, float], tmp_path: Path, torture: bool
) -> None:
    """Kills runs up to 8 times, 4 in the short form, at moments from the start of the process to past its end."""
    whole = untouched(job)
    before = PARALLEL.get(job)
    chance, kills, chain = random.Random(job), 0, 0
    while kills < (1000 if torture else 12) / len(JOBS):
        (folder := tmp_path / f"chain_{chain}").mkdir()
        chain += 1
        for _ in range(chance.randint(1, 8 if torture else 4)):
            begun = (folder / RUN / "config.yaml").exists()
            if begun and run_state(folder / RUN) == "finished":
                break
            if not begun:
                shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
            command = ("fit", *(("--resume", "auto") if begun else JOBS[job]))
            kills += killed_after(chance.uniform(0, durations[job]), *command, folder=folder, before=before)
        if not (folder / RUN / "config.yaml").exists() or run_state(folder / RUN) != "finished":
            resume_to_the_end(folder, job)
        assert_same_end(whole, folder)
        shutil.rmtree(folder)


def seconds_of(*command: str, folder: Path, before: Threads | None = None) -> float:
    """Returns how long a command takes."""
    began = time.monotonic()
    result = linreg(*command, cwd=folder, before=before)
    duration = time.monotonic() - began
    assert (result.code, result.stderr) == (0, "")
    return duration


def killed_after(seconds: float, *command: str, folder: Path, before: Threads | None = None) -> bool:
    """Starts a command and kills it; returns False if it ended before."""
    running = start(*command, cwd=folder, before=before)
    running.process.join(seconds)
    running.process.kill()
    result = running.wait()
    assert result.code in (0, -signal.SIGKILL), result.stderr
    return result.code != 0


def has_taken(steps: int, folder: Path) -> bool:
    """Returns whether the run is finished, with this number of steps."""
    report = read_report(folder / RUN)
    return report is not None and report["global_step"] == steps


def test_random_kills_of_extended_runs(untouched: Callable[[str], Path], tmp_path: Path, torture: bool) -> None:
    """A run of 52 epochs that is extended to 80 ends like one of 80 from the start."""
    whole, short = untouched("table"), tmp_path / "short"
    short.mkdir()
    assert linreg("fit", *JOBS["table"], "--trainer.max_epochs", "52", cwd=short).code == 0
    longer = ("fit", "--resume", str(RUN), "--trainer.max_epochs", "80")
    shutil.copytree(short, tmp_path / "timed")
    duration = seconds_of(*longer, folder=tmp_path / "timed")
    chance, kills = random.Random("longer"), 0
    while kills < (200 if torture else 4):
        shutil.copytree(short, folder := tmp_path / "longer")
        for _ in range(chance.randint(1, 4)):
            if not has_taken(240, folder):
                kills += killed_after(chance.uniform(0, duration), *longer, folder=folder)
        assert has_taken(240, folder) or linreg(*longer, cwd=folder).code == 0
        assert_same_end(whole, folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("point", POINTS)
def test_kill_during_a_save(point: str, untouched: Callable[[str], Path], tmp_path: Path, torture: bool) -> None:
    for nth in (range(4, 24) if torture else (4,)) if "old" in point else (range(1, 21) if torture else (1, 5)):
        (folder := tmp_path / str(nth)).mkdir()
        killed = linreg("fit", *JOBS["synthetic"], cwd=folder, before=KillInSave(point, nth))
        assert killed.code == -signal.SIGKILL, killed.stderr
        resume_to_the_end(folder, "synthetic")
        assert_same_end(untouched("synthetic"), folder)


@pytest.mark.parametrize(("job", "epochs", "interval"), [("synthetic", 160, 6), ("stopped", 16 * 9, 11)])
def test_kill_before_the_report(
    job: str, epochs: int, interval: int, untouched: Callable[[str], Path], tmp_path: Path
) -> None:
    """The report is written last. A run without one repeats the steps after the checkpoint before its end."""
    whole, saves = untouched(job), math.ceil(epochs / interval)
    killed = linreg("fit", *JOBS[job], cwd=tmp_path, before=KillInSave("after the old one is removed", saves))
    assert killed.code == -signal.SIGKILL
    assert newest(tmp_path)["global_step"] == newest(whole)["global_step"] == 3 * epochs
    assert run_state(tmp_path / RUN) == "interrupted"
    resume_to_the_end(tmp_path, job)
    assert_same_end(whole, tmp_path)


def test_stopped_run_is_finished(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(untouched("stopped"), tmp_path, dirs_exist_ok=True)
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert (report["state"], report["global_step"], report["total_steps"]) == ("finished", 16 * 27, 720)
    assert re.match(r"EarlyStopping: .*val/loss did not improve in the last 5 records", report["stopped_by"])
    listed = linreg("runs", cwd=tmp_path).stdout.splitlines()[1]
    assert re.match(rf"{RUN} +finished +432 +720 .* --resume {RUN}$", listed), "it can go on without a flag"
    assert linreg("fit", "--resume", "auto", cwd=tmp_path).code == 2


def test_signal_while_a_rule_stops(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """The run has ended, so the signal changes nothing."""
    last = SignalInPhase(signal.SIGTERM, "validation", validation=16)
    result = linreg("fit", *JOBS["stopped"], cwd=tmp_path, before=last)
    assert result.code == 0, result.stderr
    assert f"stopped by {newest(tmp_path)['progress']['stopped_by']}\n" in result.stdout
    assert_same_end(untouched("stopped"), tmp_path)


def test_stopped_run_is_resumed_by_name(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """It goes on under its rule, even after a kill; without the rule, it equals a run that never had one."""
    for name in ("killed", "whole"):
        shutil.copytree(untouched("stopped"), tmp_path / name)
    resume = ("fit", "--resume", str(RUN))
    assert linreg(*resume, cwd=tmp_path / "whole").code == 0
    assert newest(tmp_path / "whole")["global_step"] > 432
    killed = linreg(*resume, cwd=tmp_path / "killed", before=SignalInPhase(signal.SIGKILL, "first step"))
    assert killed.code == -signal.SIGKILL, killed.stderr
    resume_to_the_end(tmp_path / "killed", "stopped")
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
    freed = linreg(*resume, "--trainer.callbacks", "null", cwd=tmp_path / "whole")
    assert (freed.code, freed.stderr) == (0, "")
    (never := tmp_path / "never").mkdir()
    assert linreg("fit", *JOBS["table"], "--trainer.max_epochs", "240", cwd=never).code == 0
    assert_same_end(never, tmp_path / "whole")


def test_kill_after_resuming_older_checkpoint(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(untouched("synthetic"), tmp_path, dirs_exist_ok=True)
    oldest = checkpoints(tmp_path / RUN)[0].relative_to(tmp_path)
    again = KillInSave("before it is opened", 1)
    assert linreg("fit", "--resume", str(oldest), cwd=tmp_path, before=again).code == -signal.SIGKILL
    assert linreg("fit", "--resume", "auto", cwd=tmp_path).code == 0
    assert_same_end(untouched("synthetic"), tmp_path)


def test_kill_after_changed_settings(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """The new settings are the run's own from its first step on, even after a kill."""
    for name in ("killed", "whole"):
        shutil.copytree(untouched("synthetic"), tmp_path / name)
    changed = (
        *("fit", "--resume", str(RUN), "--trainer.max_epochs", "184"),
        *("--model.learning_rate", "2e-4", "--allow_changed_settings", "true"),
    )
    assert linreg(*changed, cwd=tmp_path / "whole").code == 0
    killed = linreg(*changed, cwd=tmp_path / "killed", before=KillInSave("before it is opened", 2))
    assert killed.code == -signal.SIGKILL
    resumed = linreg("fit", "--resume", "auto", cwd=tmp_path / "killed")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert equal(newest(tmp_path / "killed")["state_dict"], newest(tmp_path / "whole")["state_dict"])
    assert curves(tmp_path / "killed" / RUN) == curves(tmp_path / "whole" / RUN)


def test_finished_run_needs_no_checkpoints(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(untouched("synthetic"), tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / RUN / "checkpoints")
    assert run_state(tmp_path / RUN) == "finished"
    assert linreg("fit", "--resume", "auto", cwd=tmp_path).code == 2


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_each_phase(
    phase: str, number: signal.Signals, untouched: Callable[[str], Path], tmp_path: Path, torture: bool
) -> None:
    for repetition in range(20 if torture else 1):
        (folder := tmp_path / str(repetition)).mkdir()
        stopped = linreg("fit", *JOBS["table"], cwd=folder, before=SignalInPhase(number, phase))
        assert stopped.code == 128 + number, stopped.stderr
        if phase == "set-up":
            assert list(folder.iterdir()) == [], "no run was made"
        else:
            assert f"--resume {RUN}" in stopped.stderr
            assert stopped.stderr.count("\n") == 1
            step = {"first step": 1, "mid-epoch": 8}.get(phase)
            assert step is None or newest(folder)["global_step"] == step, "saved at the step's end"
            assert run_state(folder / RUN) == "interrupted"
        resume_to_the_end(folder, "table")
        assert_same_end(untouched("table"), folder)


def test_signal_while_files_are_closed(tmp_path: Path) -> None:
    """Lightning then closes them again, which fails."""
    stopped = linreg("fit", *JOBS["table"], cwd=tmp_path, before=SignalInPhase(signal.SIGTERM, "closing"))
    assert (stopped.code, stopped.stderr) == (143, "")
    assert run_state(tmp_path / RUN) == "finished"


def test_full_disk_while_a_signal_ends_the_program(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    error.__context__ = Interrupted(signal.SIGTERM)
    with pytest.raises(WriteError, match="No space left"), writing(tmp_path, "--output"):
        raise error


def test_second_ctrl_c_exits_at_once(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    stopped = linreg("fit", *JOBS["table"], cwd=tmp_path, before=SignalInPhase(signal.SIGINT, "mid-epoch", times=2))
    assert stopped.code == 130
    assert checkpoints(tmp_path / RUN) == [], "in the middle of step 8, before the first save"
    resume_to_the_end(tmp_path, "table")
    assert_same_end(untouched("table"), tmp_path)


def test_stop_between_validations(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """Lightning validates once more if a rule stops a run; a run that goes on must not show that point."""
    rule = ("--trainer.callbacks", "tests.trainers.StopAt", "--trainer.callbacks.step", "100")
    stopped = linreg("fit", *JOBS["table"], *rule, cwd=tmp_path)
    assert "fitted in 100 steps (33 epochs)\nstopped by a callback\n" in stopped.stdout, stopped.stderr
    assert [step for step, _ in curves(tmp_path / RUN)["val/loss"]] == [27, 54, 81, 100]
    assert linreg("fit", "--resume", str(RUN), "--trainer.callbacks", "null", cwd=tmp_path).code == 0
    assert_same_end(untouched("table"), tmp_path)


def damaged(contents: bytes, kind: str, chance: random.Random) -> bytes:
    """Returns damaged contents: with a flipped bit, truncated, or empty."""
    if kind == "flip":
        at = chance.randrange(len(contents))
        return contents[:at] + bytes([contents[at] ^ (1 << chance.randrange(8))]) + contents[at + 1 :]
    return contents[: chance.randrange(1, len(contents))] if kind == "truncation" else b""


def test_damaged_checkpoints_are_never_loaded(
    untouched: Callable[[str], Path], tmp_path: Path, torture: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damages the newest 1 to 3 checkpoints; none of them may be loaded with other contents.

    A flipped bit in a field that zip does not check, such as a time stamp, may leave all numbers as they were. Such a
    file may be loaded.
    """
    run, chance = tmp_path / "run", random.Random(3)
    shutil.copytree(untouched("synthetic") / RUN, run)
    whole = {path: path.read_bytes() for path in checkpoints(run)}
    contents = {path: read_checkpoint(path).contents.to_dict() for path in whole}
    caught = {"flip": 0, "truncation": 0, "empty": 0}
    for case in range(1000 if torture else 60):
        kind = ("flip", "flip", "truncation", "empty")[case % 4]
        number = chance.randint(1, 3)
        for path in list(whole)[-number:]:
            path.write_bytes(damaged(whole[path], kind, chance))
        try:
            taken = newest_good_checkpoint(run).checkpoint
        except InputError:
            assert number == 3
            taken = None
        complaints = capsys.readouterr().err
        for path in list(whole)[-number:]:
            if taken is None or path > taken.path:
                assert str(path) in complaints, "each damaged file is named"
                caught[kind] += 1
        if taken is not None:
            assert equal(taken.contents.to_dict(), contents[taken.path]), "what is loaded is what was saved"
        for path, original in whole.items():
            path.write_bytes(original)
    assert caught["empty"] > 0
    assert caught["truncation"] > 0
    assert caught["flip"] > 0


def test_resume_skips_damaged_checkpoints(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(untouched("synthetic"), tmp_path, dirs_exist_ok=True)
    (tmp_path / RUN / "report.json").unlink()
    older, middle, last = checkpoints(tmp_path / RUN)
    last.write_bytes(last.read_bytes()[:-100])
    torch.save(read_checkpoint(older).contents.to_dict(), middle)  # not damaged, but of another step than its name says
    resumed = linreg("fit", "--resume", "auto", cwd=tmp_path)
    assert resumed.code == 0
    assert f"from step {read_checkpoint(older).contents.global_step} of {RUN}" in resumed.stdout
    assert resumed.stderr.count("\n") == 2
    assert str(last.relative_to(tmp_path)) in resumed.stderr
    assert f"{middle.relative_to(tmp_path)}: this checkpoint is of step" in resumed.stderr
    assert_same_end(untouched("synthetic"), tmp_path)
    for path in checkpoints(tmp_path / RUN):
        path.write_bytes(b"")
    refused = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "180", cwd=tmp_path)
    assert refused.code == 2
    assert "none of its checkpoints can be used (3 damaged)" in refused.stderr


def test_infinite_weights_are_never_loaded(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("state_dict", "optimizer_states"):
        checkpoint = newest(untouched("synthetic"))
        next(tensors(checkpoint[name])).flatten()[0] = math.nan
        torch.save(checkpoint, tmp_path / "step=480.ckpt")
        with pytest.raises(InputError, match="not finite"):
            read_checkpoint(tmp_path / "step=480.ckpt")


class Canary:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_hostile_checkpoints_run_no_code(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(untouched("synthetic"), tmp_path, dirs_exist_ok=True)
    canary, path = tmp_path / "canary", checkpoints(tmp_path / RUN)[-1]
    checkpoint = newest(tmp_path)
    path.write_bytes(pickle.dumps(Canary(canary)))
    plain = linreg("predict", "--ckpt_path", str(path), cwd=tmp_path)
    torch.save({**checkpoint, "extra": Canary(canary)}, path)
    zipped = linreg("predict", "--ckpt_path", str(path), cwd=tmp_path)
    forced = linreg("predict", "--ckpt_path", str(path), cwd=tmp_path, env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    resumed = linreg("fit", "--resume", str(path), cwd=tmp_path, env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    for result in (plain, zipped, forced, resumed):
        assert result.code == 2
        assert str(path) in result.stderr
    assert "more than numbers and text" in forced.stderr
    checkpoint["hyper_parameters"] |= {"_instantiator": "os.mkdir", "_class_path": "os.mkdir", "path": str(canary)}
    torch.save(checkpoint, path)
    linreg("predict", "--ckpt_path", str(path), cwd=tmp_path)
    linreg("fit", "--resume", str(path), "--trainer.max_epochs", "164", cwd=tmp_path)
    assert not canary.exists()


def test_urls_are_refused_unopened(tmp_path: Path) -> None:
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/step=1.ckpt"
        for arguments in (("predict", "--ckpt_path", url), ("fit", "--resume", url)):
            refused = linreg(*arguments, cwd=tmp_path)
            assert refused.code == 2
            assert re.search("there is no such (run or )?checkpoint", refused.stderr)
        server.shutdown()
    assert asked == []


def test_full_disk_for_checkpoints(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    stopped = linreg("fit", *JOBS["synthetic"], cwd=tmp_path, before=FullDisk(1000, nth=3))
    assert stopped.code == 2, stopped.stderr
    assert "File too large" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert len(checkpoints(tmp_path / RUN)) == 2
    assert [path.name for path in (tmp_path / RUN / "checkpoints").iterdir() if path.name.startswith(".")] == []
    for path in checkpoints(tmp_path / RUN):
        read_checkpoint(path)
    resume_to_the_end(tmp_path, "synthetic")
    assert_same_end(untouched("synthetic"), tmp_path)


@pytest.mark.parametrize("limit", [12_000, 15_001])
def test_full_disk_for_curves(limit: int, untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """TensorBoard's writing thread fails between two saves or within a point; the run reports it in one line."""
    stopped = linreg("fit", *JOBS["table"], cwd=tmp_path, before=FullDisk(limit))
    assert stopped.code == 2, stopped.stderr
    assert re.fullmatch(rf"linreg: {RUN}: [^\n]*File too large[^\n]*make room[^\n]*\n", stopped.stderr)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / RUN).rglob("*") if path.is_file()}
    assert [name.partition(".out")[0] for name, size in sizes.items() if size >= limit] == ["events"]
    resume_to_the_end(tmp_path, "table")
    assert_same_end(untouched("table"), tmp_path)


def test_temporary_folder_stays_empty(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """Refuses, by an audit hook in the process, every file that is opened in it."""
    (elsewhere := tmp_path / "elsewhere").mkdir()
    forbidden = ForbidFolder(elsewhere)
    result = linreg("fit", *JOBS["synthetic"], cwd=tmp_path, env={"TMPDIR": str(elsewhere)}, before=forbidden)
    assert (result.code, result.stderr) == (0, "")
    assert list(elsewhere.iterdir()) == []
    assert_same_end(untouched("synthetic"), tmp_path)


def test_extended_run_is_bitwise_equal(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    """Extends 52 epochs to 80: the end at 52, which is a multiple of no interval, leaves no trace."""
    first = linreg("fit", *JOBS["table"], "--trainer.max_epochs", "52", cwd=tmp_path)
    assert first.code == 0
    resumed = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "80", cwd=tmp_path)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert_same_end(untouched("table"), tmp_path)
    config = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 80


@pytest.mark.parametrize(
    ("flag", "old", "new"),
    [
        ("--model.learning_rate", "0.01", "0.02"),
        ("--model.l2", "1e-10", "0.5"),
        ("--model.momentum", "0.9", "0.5"),
        ("--data.batch_size", "100", "50"),
        ("--data.seed", "0", "1"),
        ("--data.shuffle", "True", "false"),
    ],
)
def test_changed_setting_is_refused(
    flag: str, old: str, new: str, untouched: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(untouched("table"), tmp_path, dirs_exist_ok=True)
    section, name = flag.removeprefix("--").split(".")
    resume = ("fit", "--resume", str(RUN), "--trainer.max_epochs", "84", flag, new)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = linreg(*resume, cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    assert f"{name}: {old}, now {new.capitalize() if new == 'false' else new}" in refused.stderr
    assert "--allow_changed_settings" in refused.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    allowed = linreg(*resume, "--allow_changed_settings", "true", cwd=tmp_path)
    assert (allowed.code, allowed.stderr) == (0, "")
    config = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())
    settings = config["model"] if section == "model" else config["data"]["init_args"]
    assert settings[name] == yaml.safe_load(new)
    checkpoint = newest(tmp_path)
    if name in ("learning_rate", "momentum"):
        group = checkpoint["optimizer_states"][0]["param_groups"][0]
        assert group["lr" if name == "learning_rate" else name] == float(new), "the new value takes effect"
    again = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "88", cwd=tmp_path)
    assert again.code == 0, "and is now the run's own setting"


def test_changed_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(DIABETES.read_text())
    job = ("--data", "TableDataModule", "--data.path", "a.csv", "--data.target", "progression", *PLAIN)
    assert linreg("fit", *job, "--trainer.max_epochs", "3", cwd=tmp_path).code == 0
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    resume = ("fit", "--resume", str(RUN), "--data.path", "b.csv", "--trainer.max_epochs")
    assert linreg(*resume, "4", cwd=tmp_path).code == 0
    (tmp_path / "b.csv").write_text(DIABETES.read_text().replace("151\n", "152\n", 1))
    refused = linreg(*resume, "5", cwd=tmp_path)
    assert refused.code == 2
    assert "contents of the data" in refused.stderr


def test_loss_beyond_float32_stops_the_run(tmp_path: Path) -> None:
    """The gradient is not: these residuals fit into float32, and their squares do not."""
    (tmp_path / "huge.csv").write_text("x,y\n" + "".join(f"{row}e-12,{row}e20\n" for row in range(1, 50)))
    job = ("--data", "TableDataModule", "--data.path", "huge.csv", "--data.target", "y", *PLAIN, "--exact", "false")
    result = linreg("fit", *job, "--model.learning_rate", "1e-9", "--model.fit_intercept", "false", cwd=tmp_path)
    assert (result.code, "diverged at step 1 " in result.stderr, "the loss is inf" in result.stderr) == (3, True, True)
    assert json.loads((tmp_path / RUN / "report.json").read_text())["global_step"] == 0


@pytest.mark.parametrize(("weight", "code"), [(0, 0), (50, 3)])
def test_huge_target_counts_by_its_weight(weight: int, code: int, tmp_path: Path) -> None:
    """With weight 0 it does not stop the run; with a large weight it does, though its square fits into float32."""
    (tmp_path / "heavy.csv").write_text(
        f"x,y,w\n1,{'1e30' if weight == 0 else '4e18'},{weight}\n"
        + "".join(f"{row},{2 * row},{int(weight == 0)}\n" for row in range(49))
    )
    job = ("--data", "TableDataModule", "--data.path", "heavy.csv", "--data.target", "y", "--data.weight", "w", *PLAIN)
    result = linreg("fit", *job, "--model.learning_rate", "1e-9", "--exact", "false", cwd=tmp_path)
    assert result.code == code, result.stderr


def test_divergence_keeps_the_weights_finite(tmp_path: Path) -> None:
    diverging = (*JOBS["synthetic"], "--model.learning_rate", "0.01", "--checkpoint_every_n_epochs", "1")
    result = linreg("fit", *diverging, cwd=tmp_path)
    assert result.code == 3
    assert "Traceback" not in result.stderr
    last = checkpoints(tmp_path / RUN)[-1]
    for words in ("diverged at step", "epoch", "learning_rate 0.01", str(last.relative_to(tmp_path))):
        assert words in result.stderr
    for path in checkpoints(tmp_path / RUN):
        assert all(torch.isfinite(tensor).all() for tensor in tensors(read_checkpoint(path).contents.to_dict()))
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["state"] == "diverged"
    assert all(map(math.isfinite, report["coefficients"].values()))
    assert all(math.isfinite(value) for points in curves(tmp_path / RUN).values() for _, value in points)
    listed = linreg("runs", cwd=tmp_path).stdout
    assert "diverged" in listed
    cured = linreg(
        *("fit", "--resume", str(RUN), "--allow_changed_settings", "true", "--model.learning_rate", "1e-5"),
        cwd=tmp_path,
    )
    assert cured.code == 0, cured.stderr


@pytest.mark.parametrize("learning_rate", ["1e-7", "1e-3", "1e10", "1e30"])
def test_saved_weights_are_finite(learning_rate: str, tmp_path: Path) -> None:
    settings = (
        "--model.learning_rate",
        learning_rate,
        "--checkpoint_every_n_epochs",
        "1",
        "--trainer.max_epochs",
        "500",
    )
    assert linreg("fit", *settings, cwd=tmp_path).code == 3
    for path in checkpoints(tmp_path / RUN):
        read_checkpoint(path)


def test_folder_takes_one_process(untouched: Callable[[str], Path], tmp_path: Path) -> None:
    running = start("fit", *JOBS["synthetic"], "--trainer.max_epochs", "1000000", cwd=tmp_path)
    wait_until(lambda: bool(checkpoints(tmp_path / RUN)), alive=running.process.is_alive)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    assert "running" in linreg("runs", str(tmp_path), cwd=elsewhere).stdout
    second = linreg("fit", "--resume", str(tmp_path / RUN), cwd=elsewhere)
    assert second.code == 2
    assert "another process is training in this folder" in second.stderr
    third = linreg("fit", *JOBS["synthetic"], "--trainer.default_root_dir", str(tmp_path), cwd=elsewhere)
    assert third.code == 0, "a new run gets a folder of its own"
    assert (tmp_path / "lightning_logs" / "version_1" / "report.json").exists()
    running.process.kill()
    assert running.wait().code == -signal.SIGKILL
    assert run_state(tmp_path / RUN) == "interrupted", "a killed process leaves no lock"
    both = [start("fit", "--resume", str(RUN), cwd=tmp_path, name=name) for name in ("one", "other")]
    wait_until(lambda: any(running.process.exitcode is not None for running in both))
    refused = [running for running in both if running.process.exitcode is not None]
    for running in both:
        running.process.kill()
    assert [running.wait().code for running in refused] == [2], "one of two that resume at once is refused"


def test_simultaneous_runs_get_own_folders(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    job = ("--trainer.max_epochs", "2", "--trainer.default_root_dir", str(tmp_path))
    together = [start("fit", *job, cwd=folder) for folder in folders]
    assert [running.wait().code for running in together] == [0] * 4
    assert sorted(path.name for path in (tmp_path / "lightning_logs").iterdir()) == [f"version_{n}" for n in range(4)]


def test_list_of_runs(tmp_path: Path) -> None:
    assert linreg("runs", cwd=tmp_path).code == 2
    assert linreg("fit", "--trainer.max_epochs", "5", cwd=tmp_path).code == 0
    stop = partial(SignalInPhase, signal.SIGTERM, "mid-epoch")
    assert linreg("fit", "--trainer.max_epochs", "50", cwd=tmp_path, before=stop()).code == 143
    header, finished, interrupted = (line.split() for line in linreg("runs", cwd=tmp_path).stdout.splitlines())
    assert header == ["run", "state", "step", "of", "loss", "to", "go", "on"]
    assert finished[:4] == [str(RUN), "finished", "10", "10"]
    assert interrupted[:4] == ["lightning_logs/version_1", "interrupted", "8", "100"]
    assert interrupted[-3:] == ["fit", "--resume", "lightning_logs/version_1"]
    (unbegun := tmp_path / "lightning_logs" / "version_2").mkdir()
    shutil.copy(tmp_path / RUN / "config.yaml", unbegun)
    assert linreg("runs", cwd=tmp_path).stdout.splitlines()[-1].split()[1:5] == ["interrupted", "0", "-", "-"]
    loss = newest(tmp_path)["progress"]["loss"]
    assert float(finished[4]) == pytest.approx(loss, rel=1e-5)
