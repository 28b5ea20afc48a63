"""Holds the coefficients of a model: as W and b, and as a table by name."""

from collections.abc import Sequence
from typing import Any, Self, SupportsIndex

from torch import Tensor


class Coefficients(tuple[Tensor, Tensor]):
    """W (D, K) and b (K,) in the data's units, which also are a table by name.

    Example:
        >>> W, b = model.coefficients()  # doctest: +SKIP
        >>> model.coefficients()["bmi"]  # doctest: +SKIP
        24.7265
        >>> model.coefficients()["intercept"]  # doctest: +SKIP
        152.133

    For several targets, an entry is a dict by the target's name.
    """

    feature_names: list[str]
    target_names: list[str]

    def __new__(cls, W: Tensor, b: Tensor, feature_names: Sequence[str], target_names: Sequence[str]) -> Self:
        """Makes the pair (W, b) with names."""
        coefficients = super().__new__(cls, (W, b))
        coefficients.feature_names, coefficients.target_names = list(feature_names), list(target_names)
        return coefficients

    def __getitem__(self, key: Any) -> Any:
        """Returns W or b by number, or a coefficient by name.

        Raises:
            KeyError: no coefficient has this name.
        """
        if isinstance(key, SupportsIndex | slice):
            return super().__getitem__(key)
        if key == self.intercept_name:
            return self._entry(self[1])
        if key not in self.feature_names:
            raise KeyError(key)
        return self._entry(self[0][self.feature_names.index(key)])

    @property
    def intercept_name(self) -> str:
        """Returns the name of b: `intercept`, or `(intercept)` if a feature has that name."""
        return "(intercept)" if "intercept" in self.feature_names else "intercept"

    def keys(self) -> list[str]:
        """Returns the names: the intercept's, then the features'. So `dict(coefficients)` is a table."""
        return [self.intercept_name, *self.feature_names]

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as a dict by name."""
        W, b = self
        rows = [b.tolist(), *W.tolist()]
        entries = (
            [row[0] for row in rows]
            if len(b) == 1
            else [dict(zip(self.target_names, row, strict=True)) for row in rows]
        )
        return dict(zip(self.keys(), entries, strict=True))

    def _entry(self, values: Tensor) -> Any:
        numbers = values.tolist()
        return numbers[0] if len(numbers) == 1 else dict(zip(self.target_names, numbers, strict=True))

    def __repr__(self) -> str:
        """Returns the table as text: a line a coefficient, a column a target."""
        names, (W, b) = self.keys(), self
        width = max(map(len, names))
        widths = [max(12, len(name)) for name in self.target_names]
        targets = "".join(f"  {name:>{size}}" for name, size in zip(self.target_names, widths, strict=True))
        lines = [f"{'':{width}}{targets}"]
        for name, row in zip(names, [b.tolist(), *W.tolist()], strict=True):
            lines.append(
                f"{name:{width}}" + "".join(f"  {value:{size}.6g}" for value, size in zip(row, widths, strict=True))
            )
        return "\n".join(lines)
