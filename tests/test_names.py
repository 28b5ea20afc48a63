"""Names of columns as settings: any text is a name, on the command line and in config files."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from linreg_pl.cli.names import dumped, names_in, read_names
from linreg_pl.cli.parser import Parser
from linreg_pl.data.columns import Column
from linreg_pl.errors import InputError
from tests.commands import linreg
from tests.runs import RUN

ODD = ["null", "~", "[a]", "a: b", "1980", "1e3", "01", "true", " area ", "a, b", "#x", "- x", "{a}", "'", '"q"', ""]
TEXTS = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


class Columns:
    def __init__(
        self, target: list[str] | str, features: list[str] | None = None, weight: Column | None = None
    ) -> None:
        self.target, self.features, self.weight = target, features, weight


def parser() -> Parser:
    parser = Parser(exit_on_error=True)
    parser.add_subclass_arguments(Columns, "data")
    read_names(parser)
    return parser


PARSER = parser()


def settings(parsed: Any) -> dict[str, Any]:
    return dict(vars(parsed.data.init_args))


def as_flag(name: str) -> str:
    """Returns how a single name is typed."""
    return dumped([name], default_flow_style=True, width=10**6).strip() if isinstance(names_in(name), list) else name


@given(TEXTS, st.lists(TEXTS, max_size=4), TEXTS)
def test_round_trip(target: str, features: list[str], weight: str) -> None:
    """Flags, then config.yaml, then the settings that predict takes from it."""
    names = {"target": target, "features": features, "weight": weight}
    quoted = "[" + ", ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in features) + "]"
    flags = ("--data", Columns.__qualname__, f"--data.target={as_flag(target)}", f"--data.features={quoted}")
    parsed = PARSER.parse_args([*flags, f"--data.weight={as_flag(weight)}"])
    assert settings(parsed) | {"target": names_in(target)} == names | {"target": names_in(target)}
    config = PARSER.dump(parsed)
    again = PARSER.parse_string(config)
    assert settings(again) == settings(parsed)
    line = dumped(yaml.safe_load(config)["data"], default_flow_style=True, width=10**6)
    assert settings(PARSER.parse_args(["--data", line])) == settings(parsed)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", "a"),
        (" area ", " area "),
        ("[a]", ["a"]),
        ("[]", []),
        ("[ ]", []),
        ("[a, ]", ["a"]),
        ("[a, , b]", ["a", "", "b"]),
        ("[1980, 01, 1e3, null, ~]", ["1980", "01", "1e3", "null", "~"]),
        ("[- x, #y, a: b, f[0]]", ["- x", "#y", "a: b", "f[0]"]),
        ("[a, \"b, c\", 'd, \"e\"', 'it''s']", ["a", "b, c", 'd, "e"', "it's"]),
        ('["[a]"]', ["[a]"]),
        ('[5" pipe, "a" b]', ['5" pipe', '"a" b']),
        (["a", 1980, True, None, 1.5], ["a", "1980", "true", "null", "1.5"]),
        (1980, "1980"),
    ],
)
def test_names_in(text: Any, names: Any) -> None:
    assert names_in(text) == names


def test_no_names() -> None:
    config = dumped({"data": {"class_path": f"{__name__}.Columns", "init_args": {"target": {"a": 1}}}})
    with pytest.raises(InputError, match="target: expected a list") as caught:
        PARSER.parse_string(config)
    assert "\n" not in str(caught.value)


def test_no_weight_in_a_config() -> None:
    config = {"class_path": f"{__name__}.Columns", "init_args": {"target": 1980, "weight": None, "features": [1981]}}
    parsed = PARSER.parse_string(dumped({"data": config}))
    assert settings(parsed) == {"target": "1980", "weight": None, "features": ["1981"]}


def test_long_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies nothing for each name: jsonargparse's own lists would."""
    monkeypatch.setattr("jsonargparse._typehints.deepcopy", lambda value: pytest.fail("copied"))
    names = [f"name {index}" for index in range(2000)]
    parsed = PARSER.parse_args(["--data", "Columns", "--data.target=y", f"--data.features=[{', '.join(names)}]"])
    assert settings(parsed)["features"] == names


@pytest.fixture
def odd_table(tmp_path: Path) -> Path:
    names = ["null", "[a]", "a: b", "1980", "1e3", "y"]
    columns = [[float((row * (3 + at)) % 7) for row in range(20)] for at in range(len(names))]
    pyarrow.csv.write_csv(pa.table(columns, names), tmp_path / "odd.csv")
    return tmp_path


@pytest.mark.parametrize("target", ["null", '["[a]"]', "a: b", "1980", "[1e3]", "[null, 1980]"])
def test_odd_targets(target: str, odd_table: Path) -> None:
    table = ("--data", "TableDataModule", "--data.path", "odd.csv")
    result = linreg("solve", *table, "--data.target", target, "--data.features", "y", cwd=odd_table)
    assert result.code == 0, result.stderr


def test_brackets_are_explained(odd_table: Path) -> None:
    table = ("--data", "TableDataModule", "--data.path", "odd.csv")
    result = linreg("solve", *table, "--data.target", "[a]", cwd=odd_table)
    assert result.code == 2
    assert """for the column '[a]', give --data.target '["[a]"]'""" in result.stderr


def test_odd_names_of_a_run(odd_table: Path) -> None:
    """Fits, resumes and predicts with names that YAML reads otherwise."""
    table = ("--data", "TableDataModule", "--data.path", "odd.csv", "--data.target", '["[a]", 1e3]')
    choice = ("--data.features", "[null, 1980]", "--data.weight", "a: b", "--trainer.max_epochs", "2")
    first = linreg("fit", *table, *choice, cwd=odd_table)
    assert first.code == 0, first.stderr
    again = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "4", cwd=odd_table)
    if "schedule" in again.stderr:
        again = linreg(
            *("fit", "--resume", str(RUN), "--trainer.max_epochs", "4", "--allow_changed_settings", "true"),
            cwd=odd_table,
        )
    assert again.code == 0, again.stderr
    checkpoint = str(max((odd_table / RUN / "checkpoints").iterdir()))
    kept = ("--keep_columns", "[1e3, null]", "--data.path", "odd.csv")
    predicted = linreg("predict", "--ckpt_path", checkpoint, *kept, cwd=odd_table)
    assert predicted.code == 0, predicted.stderr
    assert (odd_table / "predictions.csv").read_text().startswith('"1e3","null",')


def test_names_with_line_breaks(tmp_path: Path) -> None:
    """A name or category is shown on one line, and can be typed as JSON writes it."""
    frame = pd.DataFrame({"a\nb": [1.0, 2, 3, 5], 'e"f': ["u\nv", "w\tx", "w\tx", "u\nv"], "😀": [1, 4, 2, 3]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    flags = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "😀")
    result = linreg("solve", *flags, cwd=tmp_path)
    assert result.code == 0, result.stderr
    rows = [line.split()[0] for line in result.stdout.splitlines()[1:5]]
    assert rows == ["intercept", r"a\nb", r'e"f=u\nv', r'e"f=w\tx']
    result = linreg("solve", *flags, "--data.features", r'["a\nb"]', "--json", cwd=tmp_path)
    assert list(json.loads(result.stdout)["coefficients"]) == ["a\nb"]
    result = linreg("describe", *flags, cwd=tmp_path)
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [r"a\nb", 'e"f', "😀"]
    result = linreg("fit", *flags, "--trainer.max_epochs", "2", cwd=tmp_path)
    assert (result.code, r"W/a\nb" in result.stdout) == (0, True)


def test_names_in_the_environment(tmp_path: Path) -> None:
    """One variable holds the data's settings, as YAML."""
    frame = pd.DataFrame({"null": [1.0, 2, 3, 5], "c: d": [1, 0, 2, 1], "1980": [1, 4, 2, 3]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    for target, others in {"null": ["c: d", "1980"], "c: d": ["null", "1980"], "1980": ["null", "c: d"]}.items():
        settings = {"path": "t.csv", "target": target}
        variable = json.dumps({"class_path": "TableDataModule", "init_args": settings})
        result = linreg("solve", "--json", cwd=tmp_path, env={"LINREG_SOLVE__DATA": variable})
        assert result.code == 0, result.stderr
        assert list(json.loads(result.stdout)["coefficients"]) == others
