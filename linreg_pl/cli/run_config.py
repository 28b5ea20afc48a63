"""Writes the settings of a run to `config.yaml`."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import CONFIG, run_folder


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml`, which makes a folder a run, whole or not at all."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes the settings that are in force, at every start of the run, below a comment on how l2 was chosen."""
        run = run_folder(trainer)
        if run is not None:
            comment = f"# {pl_module.l2_choice}\n" if pl_module.l2_choice else ""
            write_durably(run / CONFIG, (comment + self.parser.dump(self.config, skip_unset=False)).encode())
