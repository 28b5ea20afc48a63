"""Checks what is answered without the parsers against the parsers: mistyped flags, and completion in a real shell."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linreg_pl.cli.command import LinregCLI
from linreg_pl.cli.known_flags import FILE, known, print_completions, require_known_flags
from linreg_pl.errors import InputError
from tests.waiting import wait_until
from tools.known_flags import contents

BIN = Path(sys.executable).parent


def test_file_has_the_flags_of_the_parsers() -> None:
    assert json.loads(FILE.read_text()) == json.loads(contents()), "run make flags"


def mistyped() -> st.SearchStrategy[tuple[str, str]]:
    """Draws a command, and one of its flags with a letter left out, doubled or replaced."""
    flags = [(command, flag) for command in ("fit", "solve", "path") for flag in known()["flags"][command]]
    return st.builds(
        lambda drawn, where, insert: (
            drawn[0],
            drawn[1][: where % len(drawn[1])] + insert + drawn[1][where % len(drawn[1]) + 1 :],
        ),
        st.sampled_from(flags),
        st.integers(0, 40),
        st.sampled_from(["", "x", "ee", "_"]),
    )


@given(mistyped())
@settings(max_examples=60)
@example(("tune", "tune.l1"))
@example(("fit", "tune.trial"))
@example(("solve", "folds.cont"))
def test_same_words_as_the_parser(drawn: tuple[str, str]) -> None:
    command, flag = drawn
    early = late = None
    try:
        require_known_flags(command, [f"--{flag}", "1"])
    except InputError as error:
        early = str(error)
    if early is not None:
        with pytest.raises(InputError) as refused:
            LinregCLI(command, [f"--{flag}", "1"])
        late = str(refused.value)
    assert early == late


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("fit", ["--data=my.Rows", "--data.sheet", "2"]),
        ("fit", ["--data", "linreg_pl.TableDataModule", "--data.sheet", "2"]),
        ("fit", ["--config", "mine.yaml", "--data.sheet", "2"]),
        ("fit", ["--resume=auto", "--data.sheet", "2"]),
        ("fit", ["--data.init_args.path", "t.csv"]),
        ("fit", ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=loss"]),
        ("fit", ["--tune.l2", "1"]),
        ("solve", ["--trainer.max_epochs", "3", "-h"]),
        ("predict", ["--", "--output"]),
        ("fit", ["--data.class_path=my.Rows", "--data.sheet", "2"]),
        ("fit", ["--data", "TableDataModule", "--data.target", "--my column"]),
        ("fit", ["--model.learnin_rate", "1", "--help"]),
        ("fit", ["-h", "--learnin_rate=1"]),
        ("fit", ["--help=trainer", "--learnin_rate=1"]),
    ],
)
def test_parser_decides(command: str, args: list[str]) -> None:
    """A class, a file or another command may have these flags, some are values, and help does not need any."""
    require_known_flags(command, args)


def test_variables_may_name_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError):
        require_known_flags("fit", ["--data.sheet", "2"])
    monkeypatch.setenv("LINREG_FIT__DATA", "my.Rows")
    require_known_flags("fit", ["--data.sheet", "2"])


def test_parsers_of_other_versions_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linreg_pl.cli.known_flags.versions", lambda: {**known()["versions"], "lightning": "9.0"})
    require_known_flags("fit", ["--trainer.of_version_9", "1"])


def test_torch_is_not_imported() -> None:
    program = (
        "import sys; from linreg_pl.__main__ import main; sys.argv[1:] = ['fit', '--model.learnin_rate', '1'];"
        "code = main(); print(code, sorted({'torch', 'lightning', 'jsonargparse', 'numpy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout == "2 []\n"
    assert answer.stderr == "linreg: there is no setting --model.learnin_rate; did you mean --model.learning_rate?\n"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("linreg des", "linreg describe "),
        ("linreg fit --model.learn", "linreg fit --model.learning_rate "),
        ("linreg solve --data Ta", "linreg solve --data TableDataModule "),
        ("linreg fit --data.path tab", "linreg fit --data.path table.csv "),
        ("linreg plot tab", "linreg plot table.csv "),
    ],
)
def test_completion_in_bash(typed: str, completed: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "PS1": "ready> ", "TERM": "dumb", "COLUMNS": "200"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
    shown = bytearray()

    def shows(text: str) -> bool:
        shown.extend(os.read(terminal, 1000))
        return text in shown.decode()

    os.write(terminal, b"complete -o default -C 'linreg complete' linreg; echo s''et\n")
    wait_until(lambda: shows("set\r\n"))
    os.write(terminal, f"{typed}\t".encode())
    wait_until(lambda: shows(completed))
    os.write(terminal, b"\x15exit\n")
    os.waitpid(child, 0)
    os.close(terminal)


def test_completion_by_variables_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """zsh calls the completer without arguments."""
    line = "linreg fit --data Ta --data.path t.csv"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(line.index("Ta") + 2))
    print_completions()
    assert capsys.readouterr().out == "TableDataModule\n"
