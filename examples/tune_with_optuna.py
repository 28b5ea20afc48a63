"""Searches learning rate and momentum with Optuna (`pip install optuna`); run again, it goes on with the same study."""

from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

import linreg_pl
from linreg_pl.errors import Diverged

table = Path(__file__).with_name("diabetes.csv")


def held_out_loss(trial: optuna.Trial) -> float:
    """Returns the mean squared error over the held-out rows."""
    trial.suggest_float("learning_rate", 1e-3, 1, log=True)
    trial.suggest_float("momentum", 0, 0.95)
    model = linreg_pl.fit(table, "progression", max_epochs=20, val_fraction=0.2, batch_size=50, **trial.params)
    return float(model.trainer.callback_metrics["val/mse"])


journal = JournalStorage(JournalFileBackend("optuna.log"))
study = optuna.create_study(storage=journal, study_name="rates", load_if_exists=True)
study.optimize(held_out_loss, n_trials=10, catch=Diverged)
print(f"{len(study.trials)} trials; best: {study.best_params}, mean squared error {study.best_value:.2f}")
