"""Tries the command on hundreds of real tables, and compares each coefficient with an independent answer.

    make sweep                 `linreg fit` with defaults, on chosen columns (`benchmarks/sweep_tables.py`)
    make sweep ARGS=--solve    `linreg solve` with path and target only. If it refuses, the last line of its message
                               that begins with "linreg solve" is run once.

Each command is a process of its own, forked from one that has imported the program, and may use 120 s of CPU.
"""

import argparse
import json
import re
import resource
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.sweep_answer import INTERCEPT, Table, distance, least_squares, missed
from benchmarks.sweep_tables import Choice, choices_in
from tests import commands


@dataclass
class Result:
    """How the command ended, and how far its coefficients are from the answer; None where that is unknown.

    `tries` counts the commands. `message` is that of the first one, or says why coefficients are not compared.
    """

    name: str
    num_rows: int
    code: int = 0
    tries: int = 1
    seconds: float = 0.0
    steps: int | None = None
    message: str = ""
    pasted: str = ""
    columns: int | None = None
    distance: tuple[float, str] | None = None
    exact_distance: tuple[float, str] | None = None
    missed: float | None = None
    lost_rows: int = 0  # of those that pandas finds complete

    def __str__(self) -> str:
        facts = [f"{self.num_rows} × {self.columns or '?'}", f"{self.seconds:.1f} s"]
        facts += [f"exit {self.code}"] if self.code else []
        facts += [f"{self.steps} steps"] if self.steps else []
        for words, value in (("coefficients", self.distance), ("exact", self.exact_distance)):
            facts += [f"{words} {value[0]:.2g} at {value[1]}"] if value else []
        facts += [f"predictions {self.missed:.1g}"] if self.missed is not None else []
        facts += [f"{self.lost_rows} rows differ"] if self.lost_rows else []
        facts += [f"{self.tries} tries"] if self.tries > 1 else []
        return f"{self.name:32} {', '.join(facts)} {self.message.splitlines()[0] if self.message else ''}".rstrip()


def fit(choice: Choice, path: Path) -> Result:
    """Fits the chosen columns, and compares coefficients and the program's own exact ones."""
    result = Result(choice.name, choice.num_rows)
    flags = ["--data.missing=drop", f"--data.target={json.dumps([choice.target])}"]
    flags += [] if choice.has_all_columns else [f"--data.features={json.dumps(choice.features)}"]
    with tempfile.TemporaryDirectory() as folder:
        output = timed(result, ["fit", "--data=TableDataModule", f"--data.path={path}", *flags], folder)
        planned = re.search(r"([\d,]+) steps", output.stdout)
        result.steps = int(planned[1].replace(",", "")) if planned else None
        for file in Path(folder).glob("lightning_logs/*/report.json"):
            report = json.loads(file.read_text())
            names = {"W": choice.features[0], "b": INTERCEPT}  # W is the coefficient of a single feature
            fitted, exact = (
                {names.get(name, name.removeprefix("W/")): value for name, value in values.items()}
                for values in (report["coefficients"], report["exact"]["coefficients"])
            )
            compare(result, Table(path), choice.target, fitted, exact)
    return result


def solve(choice: Choice, path: Path) -> Result:
    """Solves with path and target only, and then with the command that the message offers."""
    result = Result(choice.name, choice.num_rows)
    flags = ["solve", "--data=TableDataModule", f"--data.path={path}", f"--data.target={choice.target}", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        output = timed(result, flags, folder)
        offers = re.findall(r"^\s*((?:\S*/)?linreg solve .*?)\s*$", output.stderr, re.MULTILINE)
        if output.code and offers:
            result.pasted, result.tries = offers[-1], 2
            flags = [*shlex.split(result.pasted)[1:], "--json"]
            output = timed(result, flags, folder)
    if output.code == 0:
        solution = json.loads(output.stdout)
        estimates = {**solution["coefficients"], INTERCEPT: solution["intercept"]}
        coefficients = {name: value["estimate"] for name, value in estimates.items()}
        table = Table(path, missing=marks(flags))
        imputes = re.search(r"--data\.missing[= ]mean", " ".join(flags)) is not None
        compare(result, table, choice.target, coefficients, coefficients, solution["num_rows"], imputes)
    return result


def marks(flags: Sequence[str]) -> list[str]:
    """Returns the texts that --data.missing_values names."""
    values = re.search(r"--data\.missing_values[= ](\[.*?\])", " ".join(flags))
    return [str(value) for value in yaml.safe_load(values[1])] if values else []


def timed(result: Result, flags: list[str], folder: str) -> commands.Result:
    """Runs a command; sets exit code and seconds, and the message unless an earlier command has set it."""
    start = time.monotonic()
    output = commands.linreg(*flags, cwd=Path(folder), before=limit_cpu)
    result.seconds, result.code = time.monotonic() - start, output.code
    if output.code:
        result.message = result.message or output.stderr.strip() or f"ended by signal {-output.code}"
    return output


def limit_cpu(seconds: int = 120) -> None:
    """Lets the kernel end this process once it has used so much time."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def compare(
    result: Result,
    table: Table,
    target: str,
    coefficients: dict[str, Any],
    exact: dict[str, Any],
    num_rows: int | None = None,
    imputes: bool = False,
    most_entries: int = 60_000_000,
) -> None:
    """Sets the distances from the answer; the message if pandas does not read the same columns."""
    try:
        x, y = table.rows([name for name in coefficients if name != INTERCEPT], target, imputes)
        result.columns, result.lost_rows = x.shape[1], len(y) - num_rows if num_rows is not None else 0
        if x.size > most_entries:
            raise ValueError("the table is too large")
        answer = least_squares(x, y)
        result.distance, result.exact_distance = distance(coefficients, answer), distance(exact, answer)
        result.missed = missed(coefficients, answer, x, y)
    except (ValueError, KeyError, np.linalg.LinAlgError) as error:
        result.message += f"not compared: {error}"


# ---- the page ----


def lines(results: Sequence[Result], is_solve: bool) -> list[str]:
    """Returns the tables that need attention, and then the figures."""
    off, missed_most = (1e-6, 1e-9) if is_solve else (0.3, 1e-2)
    worked = [result for result in results if result.code == 0]
    sections = {
        "took more than 60 s": [r for r in results if r.seconds > 60],
        "more than 3000 steps": [r for r in results if (r.steps or 0) > 3000],
        f"coefficients more than {off} standard errors off": [r for r in worked if r.distance and r.distance[0] > off],
        "exact coefficients more than 1e-6 off": [r for r in worked if r.exact_distance and r.exact_distance[0] > 1e-6],
        "other predictions": [r for r in worked if not r.distance and (r.missed or 0) > missed_most],
        "other rows than pandas finds": [r for r in worked if r.lost_rows],
        "not compared": [r for r in worked if r.missed is None],
    }
    for result in (r for r in results if r.code or r.tries > 1):
        title = f"{'refused' if result.code else 'worked once pasted'}: {kind(result)}"
        sections.setdefault(title, []).append(result)
    shown = [line for title, rows in sections.items() if rows for line in (f"\n{title}: {len(rows)}", *map(str, rows))]
    first = sum(result.code == 0 and result.tries == 1 for result in results)
    return [
        *shown,
        f"\n{len(results)} tables: {share(first, results)} work at the first try, {share(len(worked), results)} in all",
        quantiles("seconds", (r.seconds for r in results)),
        quantiles("planned steps", (r.steps for r in results)),
        quantiles(
            "worst coefficient, in standard errors", (result.distance and result.distance[0] for result in worked)
        ),
        quantiles("exact coefficient", (result.exact_distance and result.exact_distance[0] for result in worked)),
        quantiles("predictions", (result.missed for result in worked)),
    ]


def kind(result: Result) -> str:
    """Returns the message's first words, without names and numbers."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|\d[\d,.]*", "…", result.message.splitlines()[0])[:90]


def share(count: int, results: Sequence[Result]) -> str:
    return f"{count} ({100 * count / max(len(results), 1):.1f}%)"


def quantiles(name: str, values: Iterable[float | None]) -> str:
    """Returns one line: median, 99%, and most of the values that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: none"
    return f"{name}: median {np.median(known):.3g}, 99% {np.quantile(known, 0.99):.3g}, most {max(known):.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the tables, which are written if it has none")
    parser.add_argument("names", nargs="*", help="names of tables; all by default")
    parser.add_argument("--solve", action="store_true", help="solve with path and target only, instead of fit")
    parser.add_argument("--limit", type=int, default=680, help="most tables: a random sample (680)")
    parser.add_argument("--results", type=Path, help="file of results, one JSON object a line: it is continued")
    given = parser.parse_args()
    attempt: Callable[[Choice, Path], Result] = solve if given.solve else fit
    choices = [choice for choice in choices_in(given.folder) if not given.names or choice.name in given.names]
    stored = given.results.read_text().splitlines() if given.results and given.results.exists() else []
    results = {stored_result["name"]: Result(**stored_result) for stored_result in map(json.loads, stored)}
    commands.linreg("--version", cwd=given.folder)  # imports the program, which must not count as a table's time
    for choice in choices[: given.limit]:
        if choice.name not in results:
            results[choice.name] = result = attempt(choice, choice.path(given.folder))
            print(result, flush=True)
            if given.results:
                with given.results.open("a") as file:
                    print(json.dumps(asdict(result)), file=file)
    print(*lines(list(results.values()), given.solve), sep="\n")


if __name__ == "__main__":
    main()
