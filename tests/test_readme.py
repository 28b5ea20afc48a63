"""Every command of the README is run, in its order, and prints what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import outside_make

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def console_blocks() -> list[tuple[str, str]]:
    """The README's commands, each with the output that it shows below."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like the project's, whose runs are its own."""
    for name in (
        "Makefile",
        ".venv",
        "pyproject.toml",
        "requirements.lock",
        "requirements-torch.lock",
        "examples",
        "linreg_pl",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def assert_same_output(printed: str, shown: str) -> None:
    """Equal texts; numbers to within what another processor's rounding may change in their last digit."""
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    for one, other in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-4, abs=1.1e-3), f"{printed}\nand not\n{shown}"


def test_console_commands_print_what_is_shown(clone: Path) -> None:
    blocks = console_blocks()
    assert len(blocks) >= 9
    for command, shown in blocks:
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=clone,
            env=outside_make(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        expected_code = 2 if shown.startswith("linreg: ") else 0
        assert result.returncode == expected_code, result.stdout
        assert_same_output(result.stdout, shown)


def test_python_runs(clone: Path) -> None:
    ((code,),) = [re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)]
    assert len(code.strip().splitlines()) <= 10
    result = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    progression = float(re.findall(r"tensor\(\[([\d.]+)\]", result.stdout)[-1])
    assert progression == pytest.approx(152, abs=10), "the intercept is the mean over the rows that are not held out"


def test_files_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:linreg_pl|tests|examples)/[\w./]+)`", README):
        assert (ROOT / name).exists(), name


def test_make_targets_that_the_readme_names_are_listed() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert re.search(rf"^{target} ", listed, re.MULTILINE), target


def test_second_make_installs_nothing(clone: Path) -> None:
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    for target in ("train", "test", "check", "tensorboard"):
        planned = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        )
        assert "pip install" not in planned.stdout, target
