"""The commands that evaluate a checkpoint: `linreg validate`, `test` and `predict`."""

from typing import Any

from lightning.pytorch import Callback, Trainer

from linreg_pl.callbacks.prediction_file import PredictionFile, prediction_interval
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.job import Job, as_list
from linreg_pl.cli.trainer_settings import build_trainer
from linreg_pl.runs.compatibility import require_suitable
from linreg_pl.training.quiet import quiet


def validate(job: Job) -> None:
    """Prints the loss over the held-out rows."""
    load(job, "validate")
    trainer = evaluation_trainer(job, [])
    with quiet("linreg_pl"):  # the rows are printed
        trainer.validate(**evaluated(job), verbose=False)
    print_remarks(job)
    print_metrics(job, trainer)


def test(job: Job) -> None:
    """Prints the loss over the rows held out to test, or over all."""
    load(job, "test")
    trainer = evaluation_trainer(job, [])
    with quiet("linreg_pl"):  # the rows are printed
        trainer.test(**evaluated(job), verbose=False)
    print_remarks(job)
    print_metrics(job, trainer)


def predict(job: Job) -> None:
    """Writes a prediction for each row to a file."""
    load(job, "predict")
    predictions = prediction_file(job)
    trainer = evaluation_trainer(job, [predictions])
    with writing(predictions.path, "--output"):
        trainer.predict(**evaluated(job), return_predictions=False)
    empty = predictions.num_empty
    print(f"{predictions.num_rows} predictions in {predictions.path}", end="\n" if not empty else "")
    if empty:
        print(f", {empty} of them empty: a value of these rows is missing, or was not seen by the fit")
    print_remarks(job)


def print_remarks(job: Job) -> None:
    """Prints what the user should know of how the rows were read."""
    for remark in job.data.remarks:
        print(f"NOTE  {remark}")


def load(job: Job, stage: str) -> None:
    """Reads the data, and checks that the checkpoint suits it.

    Raises:
        InputError: the data can't be used, or the checkpoint was fitted on other columns.
    """
    job.data.setup(stage)
    require_suitable(job.start.checkpoint, job.model, job.data)


def evaluation_trainer(job: Job, callbacks: list[Callback]) -> Trainer:
    """Builds a trainer that writes no files of its own."""
    return build_trainer(
        job.settings.trainer,
        job.parser,
        checkpoint=job.start.checkpoint,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )


def evaluated(job: Job) -> dict[str, Any]:
    """Returns what Lightning's evaluations take: model, data, and the checkpoint to load."""
    return {
        "model": job.model,
        "datamodule": job.data,
        "ckpt_path": job.start.path,
        "weights_only": True,
    }


def prediction_file(job: Job) -> PredictionFile:
    """Builds the callback that writes the predictions."""
    settings, interval = job.settings, None
    if settings.interval is not None:
        assert job.start.checkpoint is not None
        interval = prediction_interval(job.start.checkpoint, job.model, settings.interval)
    kept = None if settings.keep_columns == "all" else as_list(settings.keep_columns)
    return PredictionFile(settings.output, kept, interval)


def print_metrics(job: Job, trainer: Trainer) -> None:
    """Prints the number of rows, and each metric over them."""
    print(f"{'rows':10} {job.data.evaluated_rows}")
    for name, value in trainer.callback_metrics.items():
        print(f"{name:10} {'unknown' if value.isnan() else f'{value.item():.6g}'}")
