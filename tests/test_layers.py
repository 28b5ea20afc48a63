"""The layers: imports go down, in no cycle; the mathematics imports neither Lightning nor files; files are short."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import linreg_pl

PACKAGE = Path(linreg_pl.__file__).parent
LAYERS = [
    {"errors", "signals", "tutorial", "core"},
    {"data"},
    {"training"},
    {"exact", "runs", "export"},
    {"callbacks", "plots", "tuning", "arguments"},
    {"report"},
    {"cli", "fit_shortcut", "shortcuts", "sklearn"},
    {"__main__"},
]  # lowest first
UPWARD = {
    ("linreg_pl.training.observed", "linreg_pl.callbacks.plain_run"),
    ("linreg_pl.training.observed", "linreg_pl.export.files"),
    ("linreg_pl.training.observed", "linreg_pl.runs.resume"),
}
"""The imports that go up, within functions: a model brings its curves to any trainer, exports itself, and loads
itself from a run."""


def imports(path: Path) -> set[str]:
    """Returns the full names of all modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int:
    """Returns the rank of `linreg_pl.LAYER.…`."""
    folder = module.split(".")[1]
    return next(rank for rank, folders in enumerate(LAYERS) if folder in folders)


def modules() -> dict[str, Path]:
    """Returns all modules of the package but its front door, by name."""
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items() if name != "linreg_pl.__init__"}


def imported_modules() -> Iterator[tuple[str, set[str]]]:
    """Yields each module with the modules of the package that it imports, within functions and for types too.

    Of `from linreg_pl.cli import fit`, this is the module fit alone.
    """
    known = modules()
    for name, path in known.items():
        imported = imports(path) & set(known) - {above for below, above in UPWARD if below == name}
        packages = {parent for parent in imported if any(module.startswith(f"{parent}.") for module in imported)}
        yield name, imported - packages


def test_every_module_has_a_layer() -> None:
    assert len(modules()) > 15
    for name in modules():
        assert name.split(".")[1] in set().union(*LAYERS), name


def test_imports_go_down() -> None:
    for name, path in modules().items():
        for imported in imports(path):
            is_exception = not UPWARD.isdisjoint({(name, imported), (name, imported.rpartition(".")[0])})
            if imported.startswith("linreg_pl.") and not is_exception:
                assert layer(imported) <= layer(name), f"{name} imports {imported} from above"


@pytest.mark.parametrize(("below", "above"), sorted(UPWARD))
def test_import_that_goes_up(below: str, above: str) -> None:
    """It is one statement within a function, so importing the lower module does not import the upper one."""
    statements = [
        node for node in ast.walk(ast.parse(modules()[below].read_text())) if isinstance(node, ast.ImportFrom)
    ]
    assert [node.col_offset > 0 for node in statements if node.module == above] == [True]


def test_no_import_cycle() -> None:
    cycle: list[str] = []
    try:
        TopologicalSorter(dict(imported_modules())).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert cycle == []


def test_core_is_mathematics() -> None:
    for path in (PACKAGE / "core").glob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= {
            "linreg_pl",
            "bisect",
            "math",
            "operator",
            "typing",
            "weakref",
            "collections",
            "concurrent",
            "contextlib",
            "dataclasses",
            "functools",
            "itertools",
            "os",  # `register_at_fork`, nothing of files
            "torch",
            "numpy",
            "threadpoolctl",
        }, path


def test_files_are_short() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
    assert sorted(lengths.values())[int(0.8 * len(lengths))] < 200, "four in five files have less than 200 lines"
