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

    For several targets, it is a dict of tables by the target's name, as those of a `Solution`.
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
        """Returns W or b by number, or a coefficient by name; for several targets, a target's table.

        Raises:
            KeyError: there is none of this name.
        """
        return (self.W, self.b)[key] if isinstance(key, int) else self.to_dict()[key]

    def keys(self) -> list[str]:
        """Returns the names in the table, so that `dict(coefficients)` is one."""
        return list(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as a dict by name, the intercept first; for several targets, a dict of such dicts."""
        columns = zip(self.b.tolist(), *self.W.tolist(), strict=True)
        tables = [dict(zip(self._names, column, strict=True)) for column in columns]
        return tables[0] if len(tables) == 1 else dict(zip(self.target_names, tables, strict=True))

    @property
    def _names(self) -> list[str]:
        return [name_of_intercept(self.feature_names), *self.feature_names]

    def __repr__(self) -> str:
        """Returns the table as text: a line a coefficient, a column a target."""
        names = self._names
        width = max(map(len, names))
        widths = [max(12, len(name)) for name in self.target_names]
        targets = "".join(f"  {name:>{size}}" for name, size in zip(self.target_names, widths, strict=True))
        lines = [f"{'':{width}}{targets}"]
        for name, row in zip(names, [self.b.tolist(), *self.W.tolist()], strict=True):
            lines.append(
                f"{name:{width}}" + "".join(f"  {value:{size}.6g}" for value, size in zip(row, widths, strict=True))
            )
        return "\n".join(lines)
