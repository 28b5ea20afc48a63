"""Finds the loader that the user gave to Lightning, and starts it anew after a pass over its rows.

No other file uses what Lightning keeps private of its loaders.
"""

from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.data.loader_rows import ListedBatches, LoaderRows
from linreg_pl.errors import InputError


def users_rows(trainer: Trainer, num_features: int, num_targets: int) -> LoaderRows | None:
    """Returns the rows of the trainer's training loader; None if the trainer is set to take no batch.

    Lets Lightning build the loader, if that has not been done yet.

    Raises:
        InputError: there are several loaders, or they have no batch.
    """
    fit, data = trainer.fit_loop, getattr(trainer, "datamodule", None)
    fit.setup_data()
    loader = trainer.train_dataloader
    if loader is None:
        return None
    if isinstance(loader, list | tuple | dict):
        raise InputError(
            f"the training loader is a {type(loader).__name__}, and Lightning takes it for several loaders: give one"
            " DataLoader"
        )
    num_batches = trainer.num_training_batches
    if num_batches == 0:
        raise InputError("the training loader is empty: it has no batch; give it more rows, or a smaller batch_size")
    has_length = isinstance(num_batches, int)
    limits = [num_batches] if has_length else [] if trainer.max_steps == -1 else [trainer.max_steps]
    names = (getattr(data, "feature_names", None), num_features), (getattr(data, "target_names", None), num_targets)
    features, targets = (list(given) if given and len(given) == size else None for given, size in names)
    return LoaderRows(
        loader,
        num_features,
        num_targets,
        feature_names=features,
        target_names=targets,
        num_batches=int(num_batches) if has_length else None,
        most_batches=min((int(limit) for limit in limits), default=None),
    )


def accept_listed_batches(trainer: Trainer) -> None:
    """Lets Lightning take a list of batches for one loader."""
    source = trainer.fit_loop._data_source
    source.instance = with_listed_batches(source.instance)


def with_listed_batches(source: Any) -> Any:
    """Returns a loader of the batches, if `source` is a list of them; else `source`."""
    is_list = isinstance(source, list | tuple) and len(source) > 0
    is_of_batches = is_list and all(
        isinstance(batch, list | tuple) and len(batch) > 0 and all(isinstance(part, Tensor) for part in batch)
        for batch in source
    )
    return ListedBatches(list(source)) if is_of_batches else source


def start_anew(trainer: Trainer, rows: LoaderRows) -> None:
    """Lets Lightning iterate the loader from its start, where a pass has moved the iterator that Lightning holds."""
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is not None and not rows.is_independent:
        iter(fetcher)
