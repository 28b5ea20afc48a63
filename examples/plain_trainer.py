"""Trains on a table under a trainer of your own, and compares the result with the exact solution.

Run it with `python examples/plain_trainer.py`. The curves are in `lightning_logs`; show them with TensorBoard.
"""

from pathlib import Path

import lightning
from lightning.pytorch.callbacks import EarlyStopping

import linreg_pl

table = str(Path(__file__).with_name("diabetes.csv"))
data = linreg_pl.TableDataModule(table, target="progression", val_fraction=0.2)
model = linreg_pl.LinearRegression(data.num_features)

close_enough = EarlyStopping("gap/objective", stopping_threshold=1e-6)
trainer = lightning.Trainer(max_epochs=50, log_every_n_steps=1, callbacks=[close_enough], enable_progress_bar=False)
trainer.fit(model, data)
print(f"{trainer.global_step} steps, gap {trainer.callback_metrics['gap/objective']:.1e}")
trainer.validate(model, data)  # over the rows that were held out

exact = linreg_pl.solve(table, "progression", val_fraction=0.2)  # holds out the same rows
trained = model.coefficients()
print(f"{'':9}  {'trained':>9}  {'exact':>9}  {'s.e.':>7}")
for name, value in exact.coefficients.items():
    print(f"{name:9}  {trained[name]:9.4f}  {value:9.4f}  {exact.standard_errors[name]:7.4f}")
