"""The README and the pages of docs/ show what the commands print; what they name exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import linreg, outside_make
from tests.pages import assert_shown

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "examples" / "README.md"]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
IN_PAGES = {name: page.read_text() for name, page in zip(NAMES, PAGES, strict=True)}

LINREG = ".venv/bin/linreg"


def console_blocks(text: str) -> list[tuple[str, str]]:
    """Returns a page's commands, each with the output that is shown below it."""
    commands = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            commands.append((command, output))
    return commands


def blocks(text: str, language: str) -> list[str]:
    """Returns a page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like the project's, with runs of its own."""
    for name in ("Makefile", ".venv", "pyproject.toml", "requirements.lock", "examples", "linreg_pl"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(command: str, cwd: Path) -> tuple[int, str]:
    """Returns the exit code and the output of a line typed at a prompt.

    A line that only calls `linreg` skips the import, as tests/commands.py does.
    """
    if command.startswith(f"{LINREG} ") and not set(command) & set("><|&;$"):
        result = linreg(*shlex.split(command)[1:], cwd=cwd, before=type_linreg)
        return result.code, result.stdout + result.stderr
    process = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=outside_make(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process.returncode, process.stdout


def type_linreg() -> None:
    """Sets the name that commands to go on with begin with."""
    sys.argv[0] = LINREG


@pytest.mark.parametrize("name", [name for name in NAMES if console_blocks(IN_PAGES[name])])
def test_commands_print_what_is_shown(name: str, clone: Path) -> None:
    for command, shown in console_blocks(IN_PAGES[name]):
        code, printed = run(command, clone)
        assert code == (2 if shown.startswith("linreg: ") else 0), printed
        assert_shown(printed, shown)


def test_readme_shows_the_main_commands() -> None:
    commands = [command for command, _ in console_blocks(IN_PAGES["README.md"])]
    assert commands[0] == "make train"
    for words in ("solve", "--data TableDataModule", "predict", "--resume"):
        assert any(words in command for command in commands), words


def test_readme_is_short() -> None:
    lines = IN_PAGES["README.md"].splitlines()
    assert len(lines) <= 200
    assert any(line.startswith("![") for line in lines[:40]), "the curves come first"


def test_python_runs(clone: Path) -> None:
    [code] = blocks(IN_PAGES["README.md"], "python")
    assert len(code.strip().splitlines()) <= 10
    printed = run_python(code, clone)
    progression = float(re.findall(r"tensor\(\[([\d.]+)\]", printed)[-1])
    assert progression == pytest.approx(152, abs=10), "the intercept is the mean over the rows that are not held out"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "README.md" and blocks(IN_PAGES[name], "python")])
def test_python_of_pages_runs(name: str, clone: Path) -> None:
    """All blocks of a page run, in one program."""
    run_python("".join(blocks(IN_PAGES[name], "python")), clone)


def run_python(code: str, cwd: Path) -> str:
    """Returns what a program prints."""
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", [*NAMES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_named_files_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    for path in re.findall(r"`((?:linreg_pl|tests|examples|docs|benchmarks)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def test_readme_links_to_every_page() -> None:
    for name in NAMES[1:]:
        assert f"]({name})" in IN_PAGES["README.md"], name


def test_named_make_targets_are_listed() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=outside_make()).stdout
    for name in [*NAMES, "CONTRIBUTING.md"]:
        text = (ROOT / name).read_text()
        for target in re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target} ", listed, re.MULTILINE), f"{name}: make {target}"


def test_named_flags_exist(clone: Path) -> None:
    """Every flag that a page names is in the help of a command."""
    helps = [
        linreg(*words, cwd=clone).stdout
        for words in (
            ["--help"],
            ["fit", "--help"],
            ["predict", "--help"],
            ["solve", "--help"],
            ["fit", "--data.help", "TableDataModule"],
            ["fit", "--data.help", "SyntheticDataModule"],
        )
    ]
    known = set(re.findall(r"--[\w.]+", "\n".join(helps)))
    of_others = {"--logdir", "--host", "--quick", "--torture", "--output", "--trainer.logger.save_dir"}
    for name in NAMES:
        named = {flag.rstrip(".") for flag in re.findall(r"--[a-z][\w.]*", IN_PAGES[name])}
        wrong = {"--model.learning_rat"}  # shows the answer to a flag that does not exist
        assert named - known - of_others - wrong == set(), name


def test_second_make_installs_nothing() -> None:
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    for target in ("train", "test", "check", "tensorboard"):
        planned = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        )
        assert "pip install" not in planned.stdout, target
