"""Which settings come along with a run that the flags name, and how are they kept?

`--resume RUN` needs no other flag: the run's own settings are read before those given beside it, which still win.
`validate`, `test` and `predict` take the data's settings along; the model is the checkpoint's, and no flag changes it.
"""

import argparse
import json
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import CheckpointFile, read_checkpoint
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import CONFIG, read_data_settings, run_folder, run_of
from linreg_pl.runs.resume import Resumption, find_resumption

COMMANDS = {
    "fit": "Train; with no flag, the tutorial's job.",
    "validate": "Tell the loss over the held-out rows, from a checkpoint.",
    "test": "Tell the loss over the rows held out to test, or over all, from a checkpoint.",
    "solve": "Tell the exact answer, how sure it is, and how descent would come there; trains nothing.",
    "predict": "Write predictions to a file, from a checkpoint.",
}
TABLES = (".csv", ".parquet", ".pq")


def with_run_settings(args: list[str]) -> tuple[Resumption | None, CheckpointFile | None, list[str]]:
    """What `--resume` goes on with, the checkpoint to start from, and the arguments with the run's settings in them.

    Raises:
        InputError: the run or the checkpoint can't be used.
    """
    at = next((index for index, arg in enumerate(args) if arg in COMMANDS), len(args))
    command, rest = "".join(args[at : at + 1]), args[at + 1 :]
    scanner = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--resume", "--ckpt_path", "--trainer.default_root_dir", "--data"):
        scanner.add_argument(flag, nargs="?")
    flags = vars(scanner.parse_known_args(rest)[0])
    if Path(flags["data"] or "").suffix.lower() in TABLES:
        table = f"--data TableDataModule --data.path {flags['data']} --data.target COLUMN"
        raise InputError(f"--data {flags['data']}: expected a class that reads data; give {table}")
    if command == "fit" and flags["resume"] is not None:
        resumption = find_resumption(flags["resume"], Path(flags["trainer.default_root_dir"] or "."))
        config = ["--config", str(resumption.run / CONFIG)]
        return resumption, resumption.checkpoint, [*args[: at + 1], *config, *rest]
    if command == "fit" or not flags["ckpt_path"]:
        return None, None, args
    checkpoint = read_checkpoint(Path(flags["ckpt_path"]))
    run = run_of(checkpoint.path)
    of_model = next((arg for arg in rest if arg.startswith("--model")), None)
    if of_model:
        raise InputError(f"{of_model}: the model comes from the checkpoint; leave it out")
    if run is None and not any(arg.split("=")[0] in ("--data", "--config", "-c") for arg in rest):
        raise InputError(
            f"{checkpoint.path}: it lies in no run's folder, so its data is not known; name it with --data"
        )
    return None, checkpoint, args if run is None else [*args[: at + 1], "--data", data_of(run), *rest]


def data_of(run: Path) -> str:
    """The data's part of a run's config, as JSON.

    Raises:
        InputError: the config is damaged.
    """
    try:
        return json.dumps(read_data_settings(run))
    except InputError as error:
        raise InputError(f"{error}; take the checkpoint out of the run, and give --data") from error


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml`, which makes a folder a run, whole or not at all."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes the settings that are in force, at every start of the run."""
        run = run_folder(trainer)
        if run is not None:
            write_durably(run / CONFIG, self.parser.dump(self.config, skip_none=False).encode())
