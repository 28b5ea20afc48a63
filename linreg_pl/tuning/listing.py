"""Finds the studies below a folder, lists how far each is and how to go on with it, and makes new ones."""

import re
from pathlib import Path

from linreg_pl.errors import InputError
from linreg_pl.runs.folder import STUDY
from linreg_pl.runs.listing import Row
from linreg_pl.tuning.study import Study


def all_studies(root: Path) -> dict[Path, Study | None]:
    """Returns all studies below `root` by their folders, oldest first; None for one whose file is damaged."""
    folders = [path.parent for path in root.glob(f"tune_*/{STUDY}") if re.fullmatch(r"tune_\d+", path.parent.name)]
    studies = dict[Path, Study | None]()
    for folder in sorted(folders, key=lambda folder: int(folder.name.removeprefix("tune_"))):
        try:
            studies[folder] = Study.read(folder)
        except InputError:
            studies[folder] = None
    return studies


def find_study(name: str, root: Path) -> Study:
    """Reads the study in a folder, or with the name `auto` the newest below `root` that has not ended.

    Raises:
        InputError: there is none, or its file is damaged.
    """
    if name != "auto":
        return Study.read(Path(name))
    waiting = [study for study in all_studies(root).values() if study is not None and study.state == "interrupted"]
    if not waiting:
        raise InputError(f"{root / 'tune_*'}: there is no interrupted study to resume; linreg runs lists the studies")
    return waiting[-1]


def study_rows(root: Path, command: str) -> list[Row]:
    """Returns a row for each study below `root`, as `run_rows` does for a run: the loss is the least measured one."""
    rows = list[Row]()
    for folder, study in all_studies(root).items():
        if study is None:
            rows.append((str(folder), "damaged", "-", "-", "-", ""))
            continue
        best, numbers = study.best(), range(len(study.trials))
        steps, length = sum(map(study.steps_taken, numbers)), sum(trial.steps for trial in study.trials)
        loss = "-" if best is None else f"{study.measured(best):.6g}"
        next_command = {
            "interrupted": study.resume_command(command),
            "finished": "" if best is None else study.command(best, command),
        }.get(study.state, "")
        rows.append((str(folder), study.state, str(steps), str(length), loss, next_command))
    return rows


def new_folder(root: Path) -> Path:
    """Makes the folder of a new study below `root`, with the next free number."""
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = root / f"tune_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
