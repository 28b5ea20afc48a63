"""The page of a run: every number against statsmodels, scikit-learn or the run's files; escaped, and on its own."""

import base64
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from linreg_pl.runs.folder import checkpoints
from linreg_pl.runs.lock import lock
from tests.commands import linreg
from tests.finished_runs import FEATURES, RUN, TARGET, Parts, fit, ordinary_least_squares, scores, write_parts
from tests.test_bad_input import refuse


class Page(HTMLParser):
    """What a browser finds in a page."""

    void = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}  # of elements, by tag
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.void:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data

    @property
    def facts(self) -> dict[str, str]:
        return dict(zip(self.texts["dt"], self.texts["dd"], strict=True))

    @property
    def pictures(self) -> dict[str, bytes]:
        sources = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        names = [value for tag, name, value in self.attributes if (tag, name) == ("img", "alt")]
        prefix = "data:image/png;base64,"
        assert all(source.startswith(prefix) for source in sources)
        return {name: base64.b64decode(source[len(prefix) :]) for name, source in zip(names, sources, strict=True)}


def report(folder: Path, *flags: str) -> Page:
    result = linreg("report", RUN, *flags, cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    return Page((folder / result.stdout.strip()).read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parts, Page]:
    folder = tmp_path_factory.mktemp("made")
    parts = write_parts(folder)
    fit(folder)
    return folder, parts, report(folder)


@pytest.fixture
def folder(tmp_path: Path, made: tuple[Path, Parts, Page]) -> Path:
    """Copies the run, for a test to change."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


Made = tuple[Path, Parts, Page]


def test_coefficients_equal_statsmodels(made: Made) -> None:
    _, parts, page = made
    header, *rows = page.tables[0]
    assert header == ["coefficient", "fitted", "95% interval", "standard error", "t", "p", "exact"]
    assert [row[0] for row in rows] == ["intercept", *FEATURES]
    expected = ordinary_least_squares(parts.fit)
    trained = json.loads((made[0] / RUN / "report.json").read_text())["coefficients"]
    for index, (_, fitted, interval, error, t, p, exact) in enumerate(rows):
        assert float(fitted) == pytest.approx([*trained.values()][index - 1], rel=1e-5)  # the intercept is the last
        assert [float(bound) for bound in interval.split(" … ")] == pytest.approx(expected.conf_int()[index], rel=1e-5)
        assert float(error) == pytest.approx(expected.bse[index], rel=1e-5)
        assert float(t) == pytest.approx(expected.tvalues[index], rel=1e-3)
        assert float(p) == pytest.approx(expected.pvalues[index], rel=1e-2)
        assert float(exact) == pytest.approx(expected.params[index], rel=1e-5)


def test_metrics_equal_scikit_learn(made: Made) -> None:
    _, parts, page = made
    header, *rows = page.tables[1]
    assert header == ["rows", "number", "R²", "RMSE", "mean squared error"]
    assert [row[0] for row in rows] == ["fitted", "held out to validate", "held out to test"]
    theta = np.array([float(row[1]) for row in page.tables[0][1:]])
    for (_, *texts), part in zip(rows, (parts.fit, parts.val, parts.test), strict=True):
        number, r2, rmse, mse = map(float, texts)
        assert number == len(part)
        assert (r2, mse) == pytest.approx(scores(part, theta), rel=1e-4)
        assert rmse == pytest.approx(mse**0.5, rel=1e-5)


def test_facts_of_the_run(made: Made) -> None:
    folder, parts, page = made
    report, facts = json.loads((folder / RUN / "report.json").read_text()), page.facts
    assert page.texts["title"] == page.texts["h1"] == [f"{TARGET} from 3 features"]
    assert (facts["data"], facts["target"], facts["features"]) == ("fit.csv", TARGET, ", ".join(FEATURES))
    assert facts["rows fitted"] == "60" == str(report["num_rows"])
    assert facts["length"] == f"{report['global_step']} steps, {report['epochs']} epochs, 60 rows a step"
    assert float(facts["penalty l2"]) == float(facts["momentum"]) == 0
    expected = ordinary_least_squares(parts.fit)
    assert float(facts["exact loss"]) == pytest.approx(expected.ssr / 60, rel=1e-5)
    assert float(facts["loss of the last batch"]) == pytest.approx(report["loss"], rel=1e-5)
    assert float(facts["gap to the exact loss"]) == pytest.approx(report["gap"], rel=1e-2)
    farthest = max(report["distance_in_standard_errors"].values())
    assert float(facts["farthest coefficient"].split()[0]) == pytest.approx(farthest, rel=0.05)
    assert facts["learning rate"] == "1, cosine schedule"


def test_page_needs_no_other_file(made: Made) -> None:
    folder, _, page = made
    text = (folder / RUN / "report.html").read_text()
    assert not {"script", "link", "iframe", "object", "i", "b"} & page.tags
    assert page.texts["style"][0].count("<") == 0
    assert not re.search(r"url\(|@import|https?:|//", re.sub(r"base64,[\w+/=]+", "", text))
    names = {name for _, name, _ in page.attributes}
    assert names <= {"lang", "charset", "name", "content", "class", "scope", "src", "alt", "width", "height"}
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 400_000


def test_pictures_are_in_the_page(made: Made) -> None:
    assert list(made[2].pictures) == [
        "predicted and actual values",
        "residuals by prediction",
        "distribution of the residuals",
        "loss at each step",
        "gap to the exact loss, and its forecast",
    ]
    for picture in made[2].pictures.values():
        pixels = imread(io.BytesIO(picture), format="png")
        assert pixels.shape[:2] == (440, 605)
        assert len(np.unique(pixels[..., 0])) > 10, "more than an empty page"


def test_commands_predict(folder: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    command, code = made[2].texts["pre"]
    parts = made[1]
    shutil.copy(folder / "test.csv", folder / "NEW_ROWS.csv")
    result = linreg(*shlex.split(command)[1:], cwd=folder)
    assert result.code == 0, result.stderr
    predicted = pd.read_csv(folder / "predictions.csv").to_numpy()[:, 0]
    theta = ordinary_least_squares(parts.fit).params
    np.testing.assert_allclose(predicted, theta[0] + parts.test[FEATURES].to_numpy() @ theta[1:], rtol=1e-4)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"X": "NEW_ROWS.csv"}
    exec(code, names)
    np.testing.assert_allclose(names["predicted"], predicted, rtol=1e-9)


def test_run_without_exact_solution(folder: Path) -> None:
    shutil.rmtree(folder / "lightning_logs")
    fit(folder, "--exact", "false", "--model.l2", "0.01", "--trainer.max_epochs", "20", held_out=False)
    page = report(folder, "--output", "page.html")
    assert page.tables[0][0] == ["coefficient", "fitted"]
    assert [row[0] for row in page.tables[1][1:]] == ["fitted"]
    assert "gap to the exact loss" not in page.facts
    assert page.facts["penalty l2"] == "0.01"
    assert not (folder / RUN / "report.html").exists()


def test_page_of_the_tutorial(tmp_path: Path) -> None:
    assert linreg("fit", "--trainer.max_epochs", "20", cwd=tmp_path).code == 0
    page = report(tmp_path)
    assert [row[0] for row in page.tables[0][1:]] == ["intercept", "x"]
    assert "path of the two coefficients on the cost surface" in page.pictures
    assert page.facts["data"] == "made by linreg"
    assert "NEW_ROWS" not in page.texts["pre"][0]


def test_page_of_two_targets(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    data = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", json.dumps([TARGET, FEATURES[0]]))
    assert linreg("fit", *data, cwd=tmp_path).code == 0
    page = report(tmp_path)
    assert page.texts["caption"] == [TARGET, FEATURES[0]]
    x = np.column_stack([np.ones(60), parts.fit[FEATURES[1:]]])
    for name, table in zip(page.texts["caption"], page.tables, strict=False):
        expected = np.linalg.lstsq(x, parts.fit[name].to_numpy(), rcond=None)[0]
        assert [float(row[1]) for row in table[1:]] == pytest.approx(expected, rel=1e-3)
    assert len(page.pictures) == 8


# ---- refusals ----


def unfinished(folder: Path) -> None:
    (folder / RUN / "report.json").unlink()
    for path in checkpoints(folder / RUN)[:-1]:
        path.unlink()


def without_config(folder: Path) -> None:
    (folder / RUN / "config.yaml").unlink()


def with_another_table(folder: Path) -> None:
    (folder / "fit.csv").write_text("\n".join((folder / "fit.csv").read_text().splitlines()[:-1]) + "\n")


def without_the_table(folder: Path) -> None:
    (folder / "fit.csv").unlink()


def with_damaged_checkpoints(folder: Path) -> None:
    for path in checkpoints(folder / RUN):
        path.write_bytes(b"")


DAMAGES: dict[Callable[[Path], None], str] = {
    without_config: "no run|config.yaml|linreg runs",
    unfinished: "not finished|linreg fit --resume",
    with_another_table: "data has changed",
    without_the_table: "fit.csv|no such file",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_run_is_refused(damage: Callable[[Path], None], folder: Path) -> None:
    (folder / RUN / "report.html").unlink()
    damage(folder)
    refuse("report", RUN, cwd=folder, words=f"{DAMAGES[damage]}")


def test_bad_arguments_are_refused(folder: Path) -> None:
    refuse("report", cwd=folder, words="linreg report|RUN|--help")
    refuse("report", "nothing", cwd=folder, words="nothing|no such folder|linreg runs")
    refuse("report", RUN, "--output", "page.pdf", cwd=folder, words="page.pdf|must end in .html|PDF")
    refuse("report", RUN, "--output", "lightning_logs", cwd=folder, words="lightning_logs|folder|--output")
    refuse("report", RUN, "--output", "fit.csv/page.html", cwd=folder, words="fit.csv/page.html|--output")
    refuse("report", RUN, "--output", "nowhere/page.html", cwd=folder, words="nowhere|No such file|--output")
    assert not (folder / "nowhere").exists(), "a typing mistake makes no folder"
    with lock(folder / RUN):
        refuse("report", RUN, cwd=folder, words="another process is training")


def test_no_good_checkpoint(folder: Path) -> None:
    with_damaged_checkpoints(folder)
    result = linreg("report", RUN, cwd=folder)
    assert (result.code, result.stdout) == (2, "")
    assert "none of its checkpoints can be used" in result.stderr
