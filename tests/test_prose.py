"""The words of the package: docstrings begin with a verb, modules state what they do, constants are few."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_layers import PACKAGE

VERBS = set(
    re.findall(
        r"\w+",
        """
    Acts Adds Adopts Appends Builds Calls Checks Clears Closes Collects Combines Compares Computes Converts
    Copies Counts Cuts Describes Divides Does Draws Drops Encodes Ends Evaluates Exits Factors Fetches Fills Finds
    Flushes Forecasts Formats Gathers Gives Groups Handles Hides Holds Joins Keeps Leaves Lets Lists Loads Locks
    Logs Makes Measures Merges Moves Multiplies Names Negates Opens Orders Parses Plans Predicts Prepares
    Prepends Prints Puts Raises Reads Refuses Removes Replaces Reports Restores Resumes Returns Runs Saves Says
    Selects Sets Shows Skips Solves Sorts Splits Stacks Starts Stops Stores Subtracts Sums Takes Tells Tests
    Trains Turns Updates Validates Waits Writes Yields
    Asks Forgets Learns Standardizes Undoes
    """,
    )
)
"""Third-person verbs that a function's docstring may begin with; a new one is a decision."""


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Yields each file of the package, parsed."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def test_functions_begin_with_a_verb() -> None:
    others, total = [], 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (docstring := ast.get_docstring(node)):
                total += 1
                if docstring.split()[0].strip(",.:;") not in VERBS:
                    others.append(f"{path}: {node.name}: {docstring.splitlines()[0]}")
    assert total > 300
    assert others == []


def test_modules_state_what_they_do() -> None:
    for path, tree in trees():
        docstring = ast.get_docstring(tree) or ""
        first = docstring.split("\n\n")[0]
        assert first.endswith((".", ":")), f"{path}: {first}"


def test_constants_are_few() -> None:
    constants, lines = [], 0
    for path, tree in trees():
        lines += code_lines(PACKAGE / path, tree)
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            constants += [f"{path}: {name}" for name in names if name.isupper()]
    print(*constants, sep="\n")
    assert len(constants) <= 8 * lines / 1000


def code_lines(path: Path, tree: ast.Module) -> int:
    """Counts the lines that are neither blank nor comments nor docstrings."""
    prose: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(number not in prose and not re.match(r"\s*(#|$)", line) for number, line in lines)
