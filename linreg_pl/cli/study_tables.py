"""Formats a study as text: the table of the predictions, and that of the trials."""

import math
import shlex
from collections.abc import Sequence

from linreg_pl.cli.typed import as_typed
from linreg_pl.exact.epochs_in_words import counted
from linreg_pl.tuning.study import Combination, Study


def predicted_lines(study: Study, most: int = 20) -> list[str]:
    """Returns the table of the predictions, the best first; at most so many, and how many are left out."""
    combinations = study.combinations
    shown = combinations[: max(most, len(study.trials))]
    rows = [[*cells(study, each), *bounds(each), "diverges" if each.diverges else ""] for each in shown]
    num_left, num_diverging = len(combinations) - len(shown), sum(each.diverges for each in combinations)
    means = {"val/mse": "mean squared error over the held-out rows", "loss": "loss over the rows to fit"}
    lines = [f"predicting {counted(len(combinations), 'combination')}: {means[study.loss]} at the end"]
    lines += table([*titles(study), "predicted", "95% band", ""], rows)
    if num_left:
        lines.append(f"  and {num_left} more")
    if num_diverging:
        lines.append(f"  {num_diverging} of all diverge: their loss over the rows to fit would grow")
    return lines


def result_lines(study: Study) -> list[str]:
    """Returns the table of the trials, the best first, with what was predicted and measured; and what to type."""
    numbers = sorted(range(len(study.trials)), key=study.measured)
    rows = [
        [
            *cells(study, study.trials[number]),
            *bounds(study.trials[number]),
            measured(study, number),
            str(study.run(number)),
        ]
        for number in numbers
    ]
    best = study.best()
    advice = "none: every trial has diverged; give smaller learning rates"
    alike = [number for number in numbers if number != best and math.isfinite(study.measured(number))]
    alike = [] if best is None else [k for k in alike if study.trials[best].predicted.contains(study.measured(k))]
    has_order = any(study.trials[number].steps > study.trials[number].epochs for number in (*numbers[:1], *alike))
    order = ": another order of the rows may rank them otherwise" if has_order else ""  # one batch has all rows
    runs = shlex.quote(str(study.run(0).parent))
    return [
        f"{counted(len(rows), 'trial')}, by {study.loss}",
        *table([*titles(study), "predicted", "95% band", "measured", "run"], rows),
        *([f"close    {counted(len(alike), 'other trial')} within the 95% band of the best{order}"] if alike else []),
        f"best     {advice if best is None else study.command(best, as_typed('linreg'))}",
        f"curves   {as_typed('tensorboard')} --logdir {runs} --host 127.0.0.1",
    ]


def ended_line(study: Study, number: int) -> str:
    """Returns the settings of a trial that has ended, and its loss."""
    settings = ", ".join(" ".join(pair) for pair in zip(titles(study), cells(study, study.trials[number]), strict=True))
    return f"{settings}: {study.loss} {measured(study, number)}"


def measured(study: Study, number: int) -> str:
    """Returns the loss with which a trial ended, as text."""
    loss = study.measured(number)
    return f"{loss:.6g}" if math.isfinite(loss) else "diverges"


def titles(study: Study) -> list[str]:
    """Returns the names of the settings that vary, and of the length if it does."""
    settings = list(study.combinations[0].settings)
    if len({each.steps for each in study.combinations}) == 1:
        return settings
    return [*settings, *(["epochs"] if "max_epochs" not in settings else []), "steps"]


def cells(study: Study, combination: Combination) -> list[str]:
    """Returns a combination's values under these titles, as text."""
    values = {"epochs": combination.epochs, "steps": combination.steps, **combination.settings}
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in map(values.get, titles(study))]


def bounds(combination: Combination) -> list[str]:
    """Returns the predicted loss and its bounds as text."""
    predicted = combination.predicted
    if not math.isfinite(predicted.high):
        return ["-", "-"]
    return [f"{predicted.mean:.6g}", f"{predicted.low:.6g} … {predicted.high:.6g}"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, with its columns aligned to the right, but for the last."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(["", *(f"{text:>{width}}" for text, width in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip()
        for row in (header, *rows)
    ]
