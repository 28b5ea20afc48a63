"""Reads the rows of a user's own loader of batches `(x, y)` or `(x, y, weights)`, in passes over one epoch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle, center_of, triangle_of
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.loaders import Batch
from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.errors import InputError


class ListedBatches:
    """A loader of the batches in a list. Lightning would take the list itself for several loaders."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


@dataclass(frozen=True)
class _Pass:
    """What a pass over all rows gives."""

    triangle: Triangle
    num_rows: int
    num_batches: int


class LoaderRows:
    """The rows of one epoch of a loader that can be iterated several times.

    The loader may shuffle. A `DataLoader` that only shuffles is read in the order of its data set, so that a pass has
    the same bits at every time and takes the rows that `drop_last` leaves out of an epoch.

    Args:
        loader: Of batches `(x, y)` or `(x, y, weights)`, of shapes (N, D), (N, K) and (N, 1).
        num_features: D.
        num_targets: K.
        feature_names: Names of x's columns; their numbers if not given.
        target_names: Names of y's columns, likewise.
        num_batches: Number of training batches in an epoch; None if the loader has no length.
        most_batches: Number of batches after which a pass ends, unless the loader shuffles; None for all.
    """

    world: World = ALONE
    rows_per_chunk = 16_384
    """Rows that are factored together, whatever the size of a batch."""

    def __init__(
        self,
        loader: Any,
        num_features: int,
        num_targets: int,
        feature_names: list[str] | None = None,
        target_names: list[str] | None = None,
        num_batches: int | None = None,
        most_batches: int | None = None,
    ) -> None:
        self.loader = loader
        self.num_features = num_features
        self.num_targets = num_targets
        self.feature_names = feature_names or [str(index) for index in range(num_features)]
        self.target_names = target_names or [str(index) for index in range(num_targets)]
        self.watch: Watch = unwatched
        self._num_batches = num_batches
        self._in_order = in_order(loader)
        self._most_batches = most_batches if self._in_order is loader else None

    @cached_property
    def _pass(self) -> _Pass:
        num_rows, num_batches, roundings = 0, 0, torch.zeros(self.num_features + self.num_targets).double()

        def counted() -> Iterator[Batch]:
            nonlocal num_rows, num_batches
            for batch in self._batches(self._in_order, self._most_batches):
                num_rows, num_batches = num_rows + len(batch[0]), num_batches + 1
                roundings.clamp_(min=rounding_of(*batch[:2]))
                yield batch

        chunks = chunked(counted(), self.rows_per_chunk)
        first = next(chunks, None)
        if first is None:
            raise InputError("the training loader is empty: it yields no batch; give it rows")
        triangle = triangle_of(self.watch(after(first, chunks), None, lambda batch: len(batch[0])), center_of(*first))
        if triangle.total_weight == 0:
            raise InputError("all weights of the training loader are 0: give some rows a weight above 0")
        with isolate_rng(include_cuda=False):
            if next(iter(self._in_order), None) is None:
                raise InputError(
                    "the training loader can be iterated only once, and these settings take passes of their own: give"
                    " a DataLoader, or an object whose __iter__ starts anew"
                )
        return _Pass(replace(triangle, rounding=roundings), num_rows, num_batches)

    @property
    def triangle(self) -> Triangle:
        """Returns the triangle of the rows; takes the first pass."""
        return self._pass.triangle

    @property
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows in a pass."""
        return self._pass.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of training batches in an epoch."""
        return self._pass.num_batches if self._num_batches is None else self._num_batches

    @property
    def batch_size(self) -> float:
        """Returns the mean number of rows in a batch. The last batch may have fewer than the others."""
        if self._in_order is not self.loader and isinstance(self.loader, DataLoader) and self.loader.drop_last:
            return float(self.loader.batch_size or 1)
        return self._pass.num_rows / self._pass.num_batches

    @property
    def mean_weight(self) -> float:
        """Returns the mean weight of the rows; 1 without weights."""
        return self._pass.triangle.total_weight / self._pass.num_rows

    @property
    def has_fixed_batches(self) -> bool:
        """Returns whether every epoch surely has the same batches, in the same order."""
        if self.steps_per_epoch == 1 == self._pass.num_batches or isinstance(self.loader, ListedBatches):
            return True
        return reads_by_index(self.loader) and type(self.loader.sampler) is SequentialSampler

    @property
    def is_independent(self) -> bool:
        """Returns whether a pass leaves other iterators over the loader as they are."""
        return reads_rows_by_number(self.loader) and not getattr(self.loader, "persistent_workers", False)

    def batches(self, indices: Iterable[int]) -> Iterator[Batch]:
        """Yields these batches of an epoch, in order, with weights whose mean over all rows is 1."""
        chosen = set(indices)
        if not chosen:
            return
        for index, batch in enumerate(self._batches(self.loader, max(chosen) + 1)):
            if index in chosen:
                x, y, *weights = batch
                yield x, y, *(weight / self.mean_weight for weight in weights)

    def rows(self) -> Iterator[Batch]:
        """Yields all rows, in chunks."""
        return chunked(self._batches(self._in_order, self._most_batches), self.rows_per_chunk)

    def watched_rows(self) -> Iterator[Batch]:
        """Yields the same rows, while `watch` observes the pass."""
        return self.watch(self.rows(), self.num_rows_to_fit, lambda batch: len(batch[0]))

    curvature_rows = watched_rows

    @property
    def preparation(self) -> None:
        """Returns None: batches are always in the user's units, and the module standardizes them."""

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Does nothing."""

    def restore(self) -> None:
        """Does nothing."""

    def _batches(self, loader: Iterable[Any], most: int | None) -> Iterator[Batch]:
        size = None
        with isolate_rng(include_cuda=False):  # the training batches stay the same, however many passes there are
            for batch in islice(loader, most):
                checked = checked_batch(batch, self.num_features, self.num_targets)
                if size is not None and len(checked) != size:
                    raise InputError("some batches of the training loader have weights, and others have none")
                size = len(checked)
                yield tuple(tensor.detach().cpu() for tensor in checked)


def reads_rows_by_number(loader: Any) -> bool:
    """Returns whether a loader holds a list of batches, or reads the rows of a data set by their numbers."""
    return isinstance(loader, ListedBatches) or reads_by_index(loader)


def reads_by_index(loader: Any) -> bool:
    """Returns whether this is torch's own `DataLoader`, which reads the rows of a data set by their numbers."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and not isinstance(loader.dataset, IterableDataset)
        and (loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler)
    )


def in_order(loader: Any) -> Any:
    """Returns a loader of the same rows in the order of the data set, if this one only shuffles; else this one."""
    if not reads_by_index(loader) or loader.batch_sampler is None or type(loader.sampler) is not RandomSampler:
        return loader
    if loader.sampler.replacement or loader.sampler.num_samples != len(loader.dataset):
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        timeout=loader.timeout,
    )


def after(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    """Yields `first`, and then the rest."""
    yield first
    yield from rest


def chunked(batches: Iterator[Batch], num_rows: int) -> Iterator[Batch]:
    """Joins batches to chunks of at least `num_rows`; the last chunk may be shorter."""
    pending: list[Batch] = []
    size = 0
    for batch in batches:
        pending.append(batch)
        size += len(batch[0])
        if size >= num_rows:
            yield tuple(torch.cat(parts) for parts in zip(*pending, strict=True))
            pending, size = [], 0
    if pending:
        yield tuple(torch.cat(parts) for parts in zip(*pending, strict=True))


def rounding_of(x: Tensor, y: Tensor) -> Tensor:
    """Returns the relative rounding of the values of each column of X and y, (D+K,): that of their type."""
    return torch.tensor([torch.finfo(part.dtype).eps for part in (x, y) for _ in range(part.shape[1])]).double()


def checked_batch(batch: Any, num_features: int, num_targets: int) -> Batch:
    """Returns a batch `(x, y)` or `(x, y, weights)` after a check of its types, shapes and values.

    Raises:
        InputError: it can't be used.
    """
    is_sequence = isinstance(batch, tuple | list)
    if not is_sequence or not 2 <= len(batch) <= 3 or not all(isinstance(part, Tensor) for part in batch):
        kinds = f" of {', '.join(type(part).__name__ for part in batch)}" if is_sequence else ""
        raise InputError(
            f"the loader yields a {type(batch).__name__}{kinds}: give batches (x, y) or (x, y, weights) of tensors"
        )
    x, y, *weights = batch
    for name, tensor, size, setting in (("x", x, num_features, "num_features"), ("y", y, num_targets, "num_targets")):
        shape = tuple(tensor.shape)
        if tensor.ndim == 1 and size == 1:
            raise InputError(
                f"{name} has shape {shape} in a batch of the loader: give it (N, 1), for example {name}.unsqueeze(1)"
            )
        if tensor.ndim != 2:
            raise InputError(f"{name} has shape {shape} in a batch of the loader: give it (N, {size})")
        if shape[1] != size:
            raise InputError(
                f"{name} has {shape[1]} columns in a batch of the loader, and {setting} is {size}: build the model with"
                f" {setting}={shape[1]}"
            )
    if len(x) != len(y) or not len(x):
        raise InputError(f"a batch of the loader has {len(x)} rows of x and {len(y)} of y: give it the same, 1 or more")
    for weight in weights:
        if weight.shape != (len(x), 1):
            raise InputError(
                f"weights has shape {tuple(weight.shape)} in a batch of the loader: give it ({len(x)}, 1), one weight"
                " for each row"
            )
    for name, tensor in zip(("x", "y", "weights"), batch, strict=False):
        if not tensor.is_floating_point():
            raise InputError(
                f"{name} has type {str(tensor.dtype).removeprefix('torch.')} in a batch of the loader: give it"
                f" floating-point numbers, for example {name}.double()"
            )
        if not tensor.isfinite().all():
            raise InputError(f"{name} has NaN or infinite values in a batch of the loader: drop or impute these rows")
    if weights and (weights[0] < 0).any():
        raise InputError("weights are negative in a batch of the loader: give each row a weight of 0 or more")
    return tuple(batch)
