"""Writes a finished run as one HTML page that needs no other file, for `linreg report`.

The coefficients and the metrics over the fitted and the test rows are computed from the checkpoint and the data, which
must not have changed; standard errors are those of the exact solution; the rest is read from `report.json`.
"""

import base64
import shlex
from pathlib import Path

from linreg_pl.core.inference import Inference
from linreg_pl.data.loaders import Summary
from linreg_pl.errors import printable
from linreg_pl.exact.epochs_in_words import counted
from linreg_pl.exact.solution import Solution
from linreg_pl.exact.summary import HEADER, cells, errors_in_words, zeros_in_words
from linreg_pl.plots.figures import panels
from linreg_pl.plots.plot import png
from linreg_pl.plots.run_data import Record, record
from linreg_pl.report.evaluated_run import FinishedRun, Metrics, finished_run, metrics_of, number, test_metrics
from linreg_pl.report.html import Html, element, facts, joined, table
from linreg_pl.report.style import STYLE


def page(folder: Path, command: str) -> str:
    """Returns the page of a run.

    Args:
        folder: Of the run.
        command: How to type `linreg`.

    Raises:
        InputError: this is no run, it is not finished or has no good checkpoint, or its data has changed.
    """
    run = finished_run(folder)
    drawn = record(folder)  # its data is set up for fit here, and for a test by `metrics`
    features, targets = drawn.data.num_features, ", ".join(map(printable, drawn.data.target_names))
    title = f"{targets} from {counted(features, 'feature')}"
    sections = {
        "Coefficients": coefficients(run, drawn),
        "How well it predicts": metrics(run, drawn),
        "Pictures": pictures(drawn),
        "How training went": training(run, drawn),
        "How to predict": prediction(run, drawn, command),
    }
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    body = [element("section", element("h2", name), contents) for name, contents in sections.items()]
    subtitle = element("p", f"A linear regression, fitted by linreg in the run {run.folder}.", class_="subtitle")
    body = [element("header", element("h1", title), subtitle, what_was_fitted(run, drawn)), *body]
    return f"<!doctype html>\n{element('html', head, element('body', element('main', *body)), lang='en')}\n"


def what_was_fitted(run: FinishedRun, drawn: Record) -> Html:
    """Returns the data and its columns."""
    data, settings = drawn.data, run.contents.datamodule_hyper_parameters
    path = settings.get("path")
    source = (
        "made by linreg" if not data.paths else str(path) if isinstance(path, str) else ", ".join(map(str, data.paths))
    )
    values = [
        ("data", source),
        ("target" if data.num_targets == 1 else "targets", ", ".join(map(printable, data.target_names))),
        ("features", listed(data.feature_names)),
        ("rows fitted", number(run.num_rows)),
    ]
    if settings.get("weight") is not None:
        values.append(("weights", printable(str(settings["weight"]))))
    return joined([facts(values), *(element("p", f"Note: {remark}.", class_="note") for remark in data.remarks)])


def coefficients(run: FinishedRun, drawn: Record) -> Html:
    """Returns the fitted coefficients of each target, with the exact solution's intervals if the run computed it."""
    solution = Solution(
        problem=drawn.problem,
        settings=drawn.model.settings,
        columns=drawn.data.columns,
        complete_categories=drawn.data.complete_categories,
        remarks=[],
        inference=Inference(drawn.problem.optimum),
    )
    (W, b), has_exact = drawn.model.coefficients(), "exact" in run.report
    order = (0,) if drawn.model.l1 else (4, 1, 2, 3, 0)  # the interval first, as narrow screens show few columns
    header = ("coefficient", "fitted", *((("exact", *HEADER[1:])[column] for column in order) if has_exact else ()))
    tables = []
    for target, name in enumerate(solution.target_names):
        rows = []
        for (coefficient, row), texts in zip(solution.rows(), cells(solution, target), strict=True):
            fitted = float(W[row - 1, target] if row else b[target])
            exact = [texts[column] for column in order] if has_exact else []
            rows.append((printable(coefficient), f"{fitted:.6g}", *exact))
        tables.append(table(header, rows, caption=printable(name) if len(solution.target_names) > 1 else ""))
    if not has_exact:
        return joined([*tables, element("p", "This run did not compute the exact solution: there are no intervals.")])
    explanation = "The prediction changes by a coefficient when its column grows by 1 and the others stay the same."
    if drawn.model.l1:
        explanation = f"{explanation} {zeros_in_words(solution)[0]}."
    else:
        errors = errors_in_words(solution)
        words = f"Standard errors {errors}. " if errors else ""
        explanation = (
            f"{words}{explanation} The intervals, standard errors, t and p are those of the exact solution, for noise"
            " that is independent, normal and alike in all rows."
        )
    warnings = [element("p", f"Warning: {warning}.", class_="note") for warning in solution.warnings()]
    return joined([*tables, *warnings, element("p", explanation)])


def metrics(run: FinishedRun, drawn: Record) -> Html:
    """Returns R² and RMSE over the rows that were fitted, validated and held out for a test."""
    fitted = metrics_of(drawn.model.evaluated(Summary(drawn.data.triangle)), run.num_rows)
    parts: dict[str, Metrics | None] = {"fitted": fitted, "held out to validate": run.validation}
    if run.holds_out_rows_to_test:
        parts["held out to test"] = test_metrics(drawn.model, drawn.data)
    rows = [
        (name, number(part.num_rows), number(part.r_squared), number(part.rmse), number(part.mse))
        for name, part in parts.items()
        if part is not None
    ]
    explanation = (
        "R² is the share of the target's variance that the prediction explains. RMSE, the root of the mean squared"
        " error, is in the target's unit."
    )
    if len(rows) == 1:
        explanation += " No rows were held out, so nothing is known of rows that the fit has not seen."
    return joined([table(("rows", "number", "R²", "RMSE", "mean squared error"), rows), element("p", explanation)])


def pictures(drawn: Record) -> Html:
    """Returns the pictures, inside the page."""
    figures = []
    for name, figure in panels(drawn).items():
        source = f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"
        figures.append(element("figure", element("img", src=source, alt=printable(name), width="605", height="440")))
    return element("div", *figures, class_="pictures")


def training(run: FinishedRun, drawn: Record) -> Html:
    """Returns the run's length, its settings and how close it came to the exact solution."""
    report, model, settings = run.report, drawn.model, drawn.model.settings
    epochs = counted(report["epochs"], "epoch")
    values = [
        (
            "length",
            f"{counted(report['global_step'], 'step')}, {epochs}, {counted(drawn.data.batch_size, 'row')} a step",
        ),
        ("learning rate", f"{drawn.convergence.learning_rate:.4g}, {settings.schedule} schedule"),
        ("momentum", f"{model.momentum:g}"),
        ("penalty l2", f"{model.l2:g}"),
        *([("penalty l1", f"{model.l1:g}")] if model.l1 else []),
        ("preconditioned", "yes" if settings.preconditions else "no"),
        ("loss of the last batch", number(report.get("loss"))),
    ]
    if "l2_choice" in report:
        values.insert(4, ("choice of l2", report["l2_choice"]))
    if "stopped_by" in report:
        values.append(("stopped by", str(report["stopped_by"])))
    if "exact" in report:
        distances = [distance for distance in report["distance_in_standard_errors"].values() if distance is not None]
        values.append(("exact loss", number(report["exact"]["objective"])))
        values.append(("gap to the exact loss", f"{report['gap']:.3g}"))
        if distances:
            values.append(("farthest coefficient", f"{max(distances):.2g} standard errors from its exact value"))
    return facts(values)


def prediction(run: FinishedRun, drawn: Record, command: str) -> Html:
    """Returns the command and the Python code that predict new rows."""
    rows, folder = " --data.path NEW_ROWS.csv" if drawn.data.paths else "", str(run.folder)
    typed = f"{command} predict --ckpt_path {shlex.quote(folder)}{rows}"
    code = f"import linreg_pl\n\nmodel = linreg_pl.LinearRegression.load({folder!r})\npredicted = model.predict(X)"
    return joined(
        [
            element("p", "On the command line, in the folder where the run was started:"),
            element("pre", typed),
            element("p", "In Python, for an array, a frame or a file with the same columns:"),
            element("pre", code),
        ]
    )


def listed(names: list[str], most: int = 30) -> str:
    """Returns the first names, and how many more there are."""
    shown = ", ".join(map(printable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
