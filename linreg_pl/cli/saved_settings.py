"""Finds the settings of a run that the flags name.

`--resume RUN` needs no other flag: the run's own settings are read before those given beside it, which still win.
`validate`, `test`, `predict` and `solve` take the data's settings along from a checkpoint's run; the model is the
checkpoint's, and no flag changes it.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import yaml

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.job import Start
from linreg_pl.cli.names import dumped
from linreg_pl.errors import InputError
from linreg_pl.runs.folder import CONFIG, read_data_settings, run_of
from linreg_pl.runs.resume import checkpoint_at, find_resumption
from linreg_pl.tuning.listing import find_study
from linreg_pl.tuning.study import Study


def with_run_settings(command: str, flags: list[str]) -> tuple[Start, list[str]]:
    """Returns where the command starts, and its flags with the settings of the run that they name.

    Raises:
        InputError: the run or the checkpoint can't be used.
    """
    resume, path, root = named_run(flags)
    if command == "fit" and resume is not None:
        resumption = find_resumption(resume, root)
        config = ["--config", str(resumption.run / CONFIG)]
        saved = {} if resumption.checkpoint is None else resumption.checkpoint.contents.hyper_parameters
        if saved.get("precondition") is False:  # a config before format 3 says nothing of it
            config += ["--model.precondition", "false"]
        return Start(resumption.checkpoint, resumption), [*config, *flags]
    if command == "tune" and resume is not None:
        return Start(), with_study(flags, find_study(resume, root))
    if command in ("solve", "path", "tune") and path is None:
        return Start(), with_shared_settings(flags, command)
    if command == "fit" or path is None:
        return Start(), flags
    checkpoint = checkpoint_at(path)
    model_flag = next((flag for flag in flags if flag.startswith("--model")), None)
    if model_flag:
        raise InputError(f"{model_flag}: the model comes from the checkpoint; leave it out")
    run = run_of(checkpoint.path)
    if run is not None:
        flags = ["--data", saved_data_flag(run), *flags]
    elif not any(flag.split("=")[0] in ("--data", "--config", "-c") for flag in flags):
        raise InputError(f"{path}: it is not in a run's folder, so its data is not known; name it with --data")
    return Start(checkpoint), flags


def with_study(flags: list[str], study: Study) -> list[str]:
    """Returns the flags with the settings of the study that they resume.

    Raises:
        InputError: they change its settings, or its files are not there, as seen from this folder.
    """
    possible = ("--resume", "--json", "--tune.workers", "--trainer.default_root_dir")
    if others := [flag for flag in flags if flag.startswith("-") and flag.split("=")[0] not in possible]:
        raise InputError(f"{others[0]}: a study goes on with its own settings; leave it out, or start another")
    data = read_data_settings(study.folder, study.settings.name)["init_args"]
    for path in map(data.get, ("path", "val_path", "test_path")):
        if isinstance(path, str) and not re.search(r"://|[*?[]", path) and not Path(path).exists():
            raise InputError(
                f"{study.folder}: {path}, a file of this study, is not there: resume it where it was begun"
            )
    workers = ["--tune.workers", str(study.workers)]
    return ["--config", str(study.settings), *workers, *flags, "--resume", str(study.folder)]


def with_shared_settings(flags: list[str], command: str) -> list[str]:
    """Returns the flags with only the settings that a command knows of each config file for `fit` or `tune`."""
    kept = list[str]()
    for flag, before in zip(flags, ["", *flags], strict=False):
        has_name = flag.startswith("--config=")
        settings = of_training(Path(flag.removeprefix("--config="))) if has_name or before in ("--config", "-c") else {}
        known = {name: value for name, value in settings.items() if name not in ("resume", "allow_changed_settings")}
        if command != "tune":
            used = COMMANDS[command].model or ()
            model = {name: value for name, value in dict(settings.get("model") or {}).items() if name in used}
            known = {**({"data": settings["data"]} if "data" in settings else {}), "model": model}
        text = dumped(known, default_flow_style=True, width=2**31 - 1)
        kept.append(flag if not settings or known == settings else f"--config={text}" if has_name else text)
    return kept


def of_training(path: Path) -> dict[str, Any]:
    """Returns the settings in a config file for `fit` or `tune`; none for other files, and for damaged ones."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return settings if isinstance(settings, dict) and "checkpoint_every_n_epochs" in settings else {}


def named_run(flags: list[str]) -> tuple[str | None, Path | None, Path]:
    """Returns the values of `--resume`, `--ckpt_path` and `--trainer.default_root_dir`.

    Raises:
        InputError: a table is given where a class is expected.
    """
    scanner = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--resume", "--ckpt_path", "--trainer.default_root_dir", "--data"):
        scanner.add_argument(flag, nargs="?")
    values = vars(scanner.parse_known_args(flags)[0])
    if Path(values["data"] or "").suffix.lower() in (".csv", ".parquet", ".pq"):
        table = f"--data TableDataModule --data.path {values['data']} --data.target COLUMN"
        raise InputError(f"--data {values['data']}: expected a class that reads data; give {table}")
    checkpoint = Path(values["ckpt_path"]) if values["ckpt_path"] else None
    return values["resume"], checkpoint, Path(values["trainer.default_root_dir"] or ".")


def saved_data_flag(run: Path) -> str:
    """Returns the data's part of a run's config, as one line of YAML for `--data`.

    Raises:
        InputError: the config is damaged.
    """
    try:
        return dumped(read_data_settings(run), default_flow_style=True, width=2**31 - 1)
    except InputError as error:
        raise InputError(f"{error}; take the checkpoint out of the run, and give --data") from error


def saved_choice(run: Path, l2: float) -> str | None:
    """Returns how l2 was chosen, from the first line of a run's config; None if another l2 was, or none."""
    with (run / CONFIG).open(encoding="utf-8") as config:
        line = config.readline().strip()
    return line.removeprefix("# ") if line.startswith(f"# l2 {l2:.6g} chosen by") else None
