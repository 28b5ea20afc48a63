"""Finds the studies below a folder, lists how far each is and how to go on with it, and makes new ones."""

import re
from pathlib import Path

from linreg_pl.errors import InputError
from linreg_pl.runs.folder import STUDY
from linreg_pl.runs.listing import Row
from linreg_pl.tuning.study import Study


def all_studies(root: Path) -> list[Path]:
    """Returns the folders of all studies below `root`, oldest first."""
    names = {path.parent: re.fullmatch(r"tune_(\d+)", path.parent.name) for path in root.glob(f"tune_*/{STUDY}")}
    return sorted((path for path, match in names.items() if match), key=lambda path: int(path.name[5:]))


def find_study(name: str, root: Path) -> Study:
    """Reads the study in a folder, or with the name `auto` the newest below `root` that has not ended.

    Raises:
        InputError: there is none, or its file is damaged.
    """
    if name != "auto":
        return Study.read(Path(name))
    waiting = [study for study in map(Study.read, all_studies(root)) if study.state == "interrupted"]
    if not waiting:
        raise InputError(f"{root / 'tune_*'}: there is no interrupted study to resume; linreg runs lists the studies")
    return waiting[-1]


def study_rows(root: Path, command: str) -> list[Row]:
    """Returns a row for each study below `root`, as `run_rows` does for a run: the loss is the least measured one."""
    rows = list[Row]()
    for folder in all_studies(root):
        try:
            study = Study.read(folder)
        except InputError:
            rows.append((str(folder), "damaged", "-", "-", "-", ""))
            continue
        best, numbers = study.best(), range(len(study.trials))
        steps, length = sum(map(study.steps_taken, numbers)), sum(trial.steps for trial in study.trials)
        loss = "-" if best is None else f"{study.measured(best):.6g}"
        next_command = "" if study.state == "running" else study.resume_command(command)
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
