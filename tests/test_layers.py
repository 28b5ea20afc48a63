"""Checks that imports only go down, and that the mathematics imports neither Lightning nor files."""

import ast
from pathlib import Path

import linreg_pl

PACKAGE = Path(linreg_pl.__file__).parent
LAYERS = [
    {"errors", "core"},
    {"data"},
    {"training"},
    {"solve", "runs"},
    {"callbacks", "plots"},
    {"cli"},
    {"__main__"},
]  # lowest first


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> int:
    """Rank of `linreg_pl.LAYER.…`."""
    folder = module.split(".")[1]
    return next(rank for rank, folders in enumerate(LAYERS) if folder in folders)


def modules() -> dict[str, Path]:
    """All modules of the package but its front door, by name."""
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items() if name != "linreg_pl.__init__"}


def test_every_module_has_a_layer() -> None:
    assert len(modules()) > 15
    for name in modules():
        assert name.split(".")[1] in set().union(*LAYERS), name


def test_imports_only_go_down() -> None:
    for name, path in modules().items():
        for imported in imports(path):
            if imported.startswith("linreg_pl."):
                assert layer(imported) <= layer(name), f"{name} imports {imported} from above"


def test_core_is_mathematics_on_tensors() -> None:
    for path in (PACKAGE / "core").glob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= {
            "linreg_pl",
            "math",
            "typing",
            "collections",
            "concurrent",
            "dataclasses",
            "functools",
            "os",  # `register_at_fork`, nothing of files
            "torch",
            "numpy",
            "threadpoolctl",
        }, path


def test_files_can_be_read_in_one_go() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    most = sorted(lengths.values())[int(0.8 * len(lengths))]
    assert most < 200, "four in five under 200 lines, the project's own rule"
