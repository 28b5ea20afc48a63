"""Holds the coefficients of a model: as W and b, and as a table by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor

from linreg_pl.data.columns import name_of_intercept


@dataclass(frozen=True, eq=False, repr=False)
class Coefficients:
    """W and b in the data's units: a pair to unpack, and a table by name.

    Example:
        >>> coefficients = linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4]).coefficients()
        >>> W, b = coefficients
        >>> round(W.item(), 3), round(coefficients["x0"], 3), round(coefficients["intercept"], 3)
        (1.0, 1.0, 2.0)

    For several targets, an entry is a dict by the target's name.
    """

    W: Tensor  # (D, K), float64, on the CPU
    b: Tensor  # (K,), likewise
    feature_names: list[str]
    target_names: list[str]

    def __iter__(self) -> Iterator[Tensor]:
        """Yields W, then b."""
        return iter((self.W, self.b))

    def __len__(self) -> int:
        """Returns 2: W and b."""
        return 2

    @overload
    def __getitem__(self, key: int) -> Tensor: ...

    @overload
    def __getitem__(self, key: str) -> Any: ...

    def __getitem__(self, key: int | str) -> Any:
        """Returns W or b by number, or a coefficient by name.

        Raises:
            KeyError: no coefficient has this name.
        """
        if isinstance(key, int):
            return (self.W, self.b)[key]
        if key == self.intercept_name:
            return self._entry(self.b)
        if key not in self.feature_names:
            raise KeyError(key)
        return self._entry(self.W[self.feature_names.index(key)])

    @property
    def intercept_name(self) -> str:
        """Returns the name of b: `intercept`, or `(intercept)` if a feature has that name."""
        return name_of_intercept(self.feature_names)

    def keys(self) -> list[str]:
        """Returns the names: the intercept's, then the features'. So `dict(coefficients)` is a table."""
        return [self.intercept_name, *self.feature_names]

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as a dict by name."""
        return {name: self._entry(row) for name, row in zip(self.keys(), [self.b, *self.W], strict=True)}

    def _entry(self, values: Tensor) -> Any:
        numbers = values.tolist()
        return numbers[0] if len(numbers) == 1 else dict(zip(self.target_names, numbers, strict=True))

    def __repr__(self) -> str:
        """Returns the table as text: a line a coefficient, a column a target."""
        names = self.keys()
        width = max(map(len, names))
        widths = [max(12, len(name)) for name in self.target_names]
        targets = "".join(f"  {name:>{size}}" for name, size in zip(self.target_names, widths, strict=True))
        lines = [f"{'':{width}}{targets}"]
        for name, row in zip(names, [self.b.tolist(), *self.W.tolist()], strict=True):
            lines.append(
                f"{name:{width}}" + "".join(f"  {value:{size}.6g}" for value, size in zip(row, widths, strict=True))
            )
        return "\n".join(lines)
