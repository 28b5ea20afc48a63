"""Runs the examples in docstrings; every public name that the pages explain has one.

Most fit y = 0, 2, 2, 4 at x = -1, -1, 1, 1, where least squares can be done in the head: y = 2 + x, the residuals are
1 and -1, and X'X is 4 times the identity.
"""

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pyarrow as pa
import pytest
import torch

import linreg_pl
from linreg_pl import sklearn
from tests.test_layers import modules

ROOT = Path(__file__).parent.parent
PUBLIC = {
    **{name: getattr(linreg_pl, name) for name in linreg_pl.__all__},
    "sklearn.LinregRegressor": sklearn.LinregRegressor,
    "sklearn.ExactRegressor": sklearn.ExactRegressor,
}
NAMES = {"linreg_pl": linreg_pl, "lightning": lightning, "np": np, "pa": pa, "torch": torch}
"""What the examples of methods may use without an import; `sklearn`'s find their module's own names."""


def explained() -> set[str]:
    """Returns the names in the code of the pages on Python: `name`, `.name` and `name(`."""
    pages = "".join((ROOT / page).read_text() for page in ("README.md", "docs/python.md", "docs/export.md"))
    spans = re.findall(r"```python\n.*?```|`[^`\n]+`", pages, re.DOTALL)
    return {name for span in spans for name in re.findall(r"(?:(?<=\.)|\b)([a-z]\w*)\b(?!\s*=)", span)}


def members(kind: type) -> dict[str, Any]:
    """Returns the methods and properties that the package defines for a class, by name."""
    defined: dict[str, Any] = {}
    for ancestor in reversed(kind.__mro__):
        if ancestor.__module__.startswith("linreg_pl."):
            defined |= {name: value for name, value in vars(ancestor).items() if name[0] != "_"}
    return {
        name: value for name, value in defined.items() if callable(value) or isinstance(value, property | classmethod)
    }


def described(value: Any) -> str:
    """Returns the docstring of a function, method, property or class."""
    return inspect.getdoc(getattr(value, "__func__", value)) or ""


def test_public_names_have_examples() -> None:
    names, required = explained(), dict(PUBLIC)
    for title, kind in PUBLIC.items():
        if inspect.isclass(kind):
            required |= {f"{title}.{name}": value for name, value in members(kind).items() if name in names}
    hooks = ("setup", "configure_callbacks")  # Lightning calls them
    required = {title: value for title, value in required.items() if title.rpartition(".")[2] not in hooks}
    without = [title for title, value in required.items() if ">>> " not in described(value)]
    assert without == [], without
    assert {"Solution.aic", "LinearRegression.load", "sklearn.ExactRegressor.merge", "TableDataModule.describe"} <= set(
        required
    )


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False, optionflags=flags)
    printed: list[str] = []
    for name, path in modules().items():
        text = path.read_text()
        assert "+SKIP" not in text, f"{name}: an example that does not run"
        if ">>> " in text:
            module = import_module(name)
            for example in finder.find(module, name, globs={**vars(module), **NAMES}):
                runner.run(example, out=printed.append)
    assert not printed, "".join(printed)
    assert runner.tries > 50
