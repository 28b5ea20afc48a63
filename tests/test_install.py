"""Installation: the Python that `make` chooses, the locks, and the package that pip builds."""

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.commands import run_python

ROOT = Path(__file__).parent.parent

# ---- the Python of the environment ----

FAILS = 'echo "pyenv: command not found" >&2; exit 127'  # as the names do that pyenv makes for versions it lacks
LACKS_ENSUREPIP = (
    'test "$1" = -c && exit 1; mkdir -p "$4/bin"; touch "$4/bin/python"'  # as Debian's without python3-venv
)
WORKS = 'test "$1" = -c || { mkdir -p "$4/bin"; basename "$0" > "$4/bin/pip"; }'  # python -m venv --clear FOLDER
BREAKS = 'test "$1" = -c || { mkdir -p "$4/bin"; touch "$4/bin/python"; exit 1; }'  # after the first files


def make_environment(folder: Path, pythons: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs tools/make-environment where `pythons`, by name, are the only ones: each the lines of a shell script."""
    (folder / "bin").mkdir()
    for tool in ("bash", "env", "sh", "rm", "mkdir", "touch", "basename", "test"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    for name, lines in pythons.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "bin" / name).chmod(0o755)
    command = [str(ROOT / "tools" / "make-environment"), str(folder / "made"), *arguments]
    return subprocess.run(command, env={"PATH": str(folder / "bin")}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3.11": WORKS, "python3.12": WORKS, "python3.13": WORKS}, "python3.13"),
        ({"python3.11": WORKS, "python3.12": FAILS, "python3.13": FAILS}, "python3.11"),
        ({"python3.11": LACKS_ENSUREPIP, "python3.12": WORKS}, "python3.12"),
        ({"python3.12": LACKS_ENSUREPIP, "python3.11": WORKS}, "python3.11"),
        ({"python3.13": FAILS, "python3": WORKS}, "python3"),
        ({"python": WORKS}, "python"),
    ],
)
def test_newest_working_python(pythons: dict[str, str], chosen: str, tmp_path: Path) -> None:
    result = make_environment(tmp_path, pythons)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "made" / "bin" / "pip").read_text() == f"{chosen}\n"


@pytest.mark.parametrize("pythons", [{}, {"python3.11": FAILS}, {"python3.11": LACKS_ENSUREPIP}, {"python3": BREAKS}])
def test_no_python(pythons: dict[str, str], tmp_path: Path) -> None:
    result = make_environment(tmp_path, pythons)
    assert result.returncode == 1
    assert result.stderr == (
        "no Python 3.11, 3.12 or 3.13 with venv and ensurepip was found: install one (Debian, Ubuntu: apt install "
        "python3-venv), or name yours: make train PYTHON=/path/to/python\n"
    )
    assert not (tmp_path / "made").exists(), "half an environment would count as one"


def test_chosen_python(tmp_path: Path) -> None:
    (mine := tmp_path / "mine").write_text(f"#!/bin/sh\n{WORKS}\n")
    mine.chmod(0o755)
    assert make_environment(tmp_path, {"python3.13": WORKS}, str(mine)).returncode == 0
    assert (tmp_path / "made" / "bin" / "pip").read_text() == "mine\n"


def test_chosen_python_fails(tmp_path: Path) -> None:
    result = make_environment(tmp_path, {"python3.13": WORKS}, "python3.9")
    assert result.returncode == 1
    assert result.stderr.startswith("PYTHON=python3.9 is not a Python 3.11 or newer with venv and ensurepip: install")


def test_this_python_works(tmp_path: Path) -> None:
    """Tries the real question that the script asks, without making an environment."""
    pythons = {"python3.11": f'test "$1" = -c || {{ {WORKS}; exit; }}; exec {sys.executable} "$@"'}
    assert make_environment(tmp_path, pythons, "python3.11").returncode == 0


# ---- the locks ----


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("requirements.lock", 20),
        ("requirements-dev.lock", 20),
        ("benchmarks/requirements-peers.lock", 20),
        ("benchmarks/requirements-tables.lock", 0),
    ],
)
def test_locks_have_hashes(name: str, least: int) -> None:
    entries = re.split(r"(?<!\\)\n", (ROOT / name).read_text().strip())
    packages = [entry for entry in entries if entry != "-r requirements.lock"]
    assert len(packages) > least
    for entry in packages:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^\\\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\\n)?)+", entry)


def test_torch_has_no_hash() -> None:
    """torch's file differs by platform (CPU, CUDA); its version does not."""
    assert re.fullmatch(r"torch==[\d.]+\n", (ROOT / "requirements-torch.lock").read_text())
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert not re.search("^(torch|triton|nvidia-.*|cuda-.*)==", (ROOT / name).read_text(), re.MULTILINE)


# ---- the package ----


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a copy of what the package is built from."""
    folder = tmp_path_factory.mktemp("package") / "source"
    shutil.copytree(ROOT / "linreg_pl", folder / "linreg_pl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """Returns the wheel that pip builds, without the network."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", source.parent, source], check=True, capture_output=True)
    (built,) = source.parent.glob("*.whl")
    return built


def test_building_leaves_nothing_behind(source: Path, wheel: Path) -> None:
    assert wheel.exists()
    assert {path.name for path in source.iterdir()} == {"linreg_pl", "pyproject.toml", "README.md", "LICENSE"}
    assert not [path for path in (source / "linreg_pl").rglob("*") if path.is_file() and path.suffix not in SUFFIXES]


SUFFIXES = {".py", ".typed", ".json"}


def test_wheel_is_whole(wheel: Path) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "linreg_pl").rglob("*.py")}
    package = modules | {"linreg_pl/py.typed", "linreg_pl/cli/known_flags.json"}
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert {name for name in names if ".dist-info/" not in name} == package
    assert "linreg = linreg_pl.__main__:main" in entry_points.replace("=", " = ").replace("  ", " ")
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_source_distribution_is_whole(source: Path, wheel: Path) -> None:
    """What is built from the source distribution is what is built from the checkout."""
    build = "from flit_core.buildapi import build_sdist; build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (archive,) = source.parent.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    with ZipFile(wheel) as built:
        assert {name for name in built.namelist() if ".dist-info/" not in name} <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


FROM_WHEEL = """
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == "linreg_pl"]:
    del sys.modules[name]
sys.path.insert(0, {site!r})

import linreg_pl
from linreg_pl.__main__ import main

print(linreg_pl.__file__)
sys.argv[1:] = ["solve"]
sys.exit(main())
"""


def test_wheel_works(wheel: Path, tmp_path: Path) -> None:
    """Installs the wheel beside the packages that are here, and fits a line far away from the checkout."""
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    result = run_python(FROM_WHEEL.format(site=str(site)), tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == str(site / "linreg_pl" / "__init__.py")
