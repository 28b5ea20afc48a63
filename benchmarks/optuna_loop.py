"""Searches settings with Optuna, each trial a training by `linreg_pl.fit`, and prints the least held-out loss.

Runs in `.venv`, and takes from `.venv-peers`, which has Optuna, only what `.venv` lacks.
"""

import json
import sys
from typing import Any

import pyarrow.csv

import linreg_pl
from linreg_pl.errors import Diverged


def main() -> None:
    site_packages, settings = sys.argv[1], json.loads(sys.argv[2])
    sys.path.append(site_packages)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = pyarrow.csv.read_csv(settings["path"])

    def held_out_loss(trial: Any) -> float:
        trial.suggest_float("learning_rate", *settings["varied"]["learning_rate"], log=True)
        for name in settings["varied"].keys() - {"learning_rate"}:
            trial.suggest_categorical(name, settings["varied"][name])
        model = linreg_pl.fit(table, settings["target"], **settings["fixed"], **trial.params)
        return float(model.trainer.callback_metrics["val/mse"])

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings["fixed"]["seed"]))
    study.optimize(held_out_loss, n_trials=settings["trials"], catch=Diverged)
    print(json.dumps({"loss": study.best_value}))


if __name__ == "__main__":
    main()
