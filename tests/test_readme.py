"""The README and the pages of docs/ show what the commands print; what they name exists."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.commands import linreg, outside_make, run_python
from tests.pages import PAGES, ROOT, assert_aligned, assert_shown, blocks, console_blocks, make_clone, run

IN_PAGES = {name: (ROOT / name).read_text() for name in PAGES}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return make_clone(tmp_path)


@pytest.mark.parametrize("name", [name for name in PAGES if console_blocks(IN_PAGES[name])])
def test_commands_print_what_is_shown(name: str, clone: Path) -> None:
    for command, shown in console_blocks(IN_PAGES[name]):
        code, printed = run(command, clone)
        assert code == (2 if shown.startswith("linreg: ") else 0), printed
        assert_shown(printed, shown)
        assert_aligned(printed)


def test_readme_shows_the_main_commands() -> None:
    commands = [command for command, _ in console_blocks(IN_PAGES["README.md"])]
    assert commands[0] == "make train"
    for words in ("solve", "--data TableDataModule", "predict", "linreg runs"):
        assert any(words in command for command in commands), words


def test_readme_is_short() -> None:
    lines = IN_PAGES["README.md"].splitlines()
    assert len(lines) <= 200
    assert any(line.startswith("![") for line in lines[:40]), "the curves come first"


def test_first_changelog_is_short() -> None:
    first = (ROOT / "CHANGELOG.md").read_text().partition("## 0.1.0")[2].partition("\n## ")[0]
    assert first.count("\n- ") <= 25


def test_python_runs(clone: Path) -> None:
    [code] = blocks(IN_PAGES["README.md"], "python")
    assert len(code.strip().splitlines()) <= 10
    printed = printed_by(code, clone)
    progression = float(re.findall(r"tensor\(\[([\d.]+)\]", printed)[-1])
    assert progression == pytest.approx(152, abs=10), "the intercept is the mean over the rows that are not held out"


@pytest.mark.parametrize("name", [name for name in PAGES if name != "README.md" and blocks(IN_PAGES[name], "python")])
def test_python_of_pages_runs(name: str, clone: Path) -> None:
    """All blocks of a page run, in one program."""
    printed_by("".join(blocks(IN_PAGES[name], "python")), clone)


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(IN_PAGES[name], "yaml")])
def test_settings_of_pages_are_used(name: str, clone: Path) -> None:
    """The first line of each file has its name, and a command of the page takes it."""
    for settings in blocks(IN_PAGES[name], "yaml"):
        file = settings.splitlines()[0].removeprefix("# ")
        (clone / file).write_text(settings)
        [command] = re.findall(rf"^\S+ .* --config {re.escape(file)}$", IN_PAGES[name], re.MULTILINE)
        code, printed = run(command, clone)
        assert code == 0, printed


def printed_by(code: str, cwd: Path) -> str:
    """Returns what a program prints."""
    result = run_python(code, cwd)
    assert result.code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_named_files_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    for path in re.findall(r"`((?:linreg_pl|tests|examples|docs|benchmarks)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def test_readme_links_to_every_page() -> None:
    for name in PAGES[1:]:
        assert f"]({name})" in IN_PAGES["README.md"], name


def test_named_make_targets_are_listed() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=outside_make()).stdout
    for name in [*PAGES, "CONTRIBUTING.md"]:
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
            ["fit", "--help=trainer"],
            ["predict", "--help"],
            ["solve", "--help"],
            ["tune", "--help"],
            ["path", "--help"],
            ["export", "--help"],
            ["fit", "--data.help", "TableDataModule"],
            ["fit", "--data.help", "SyntheticDataModule"],
        )
    ]
    known = set(re.findall(r"--[\w.]+", "\n".join(helps)))
    of_others = {"--logdir", "--host", "--quick", "--first", "--torture", "--solve", "--trainer.logger.save_dir"}
    of_others |= {"--nnodes", "--nproc", "--rdzv", "--local", "--nodes", "--ntasks", "--kill"}  # of torchrun and srun
    for name in PAGES:
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
