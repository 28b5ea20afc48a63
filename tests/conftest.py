"""Sets up hypothesis, the threads and the flags of all tests."""

import gc
import os
import shlex
import sys
from pathlib import Path

import pytest
from execnet import XSpec
from hypothesis import settings

from tests.commands import share_server

# Several processes of one machine connect over its loopback: gloo would look for the machine's name, maybe in vain.
if Path("/sys/class/net/lo").exists():
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

gc.disable()  # until all tests are imported, which takes a quarter longer with it

# No deadline: a busy machine can stall any example.
settings.register_profile("linreg", deadline=None, derandomize=True)
settings.load_profile("linreg")


def pytest_xdist_setupnodes(specs: list[XSpec]) -> None:
    # Parallel tests share the processors. Twice as many threads would mostly wait for each other, and spin meanwhile.
    # torch reads this when it is imported, by the tests and by the server that forks the commands.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(specs))))
    share_server()
    for spec in specs:
        spec.python = f"{shlex.quote(sys.executable)} -m tests.forked_worker"


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--torture", action="store_true", help="run the long form of the reliability tests: an hour of kills"
    )
    parser.addoption("--digits", action="store_true", help="count the certain digits of 2,000 random tables")
    parser.addoption("--csv-files", action="store_true", help="compare 20,000 made CSV files with Python's csv module")


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Returns whether the long form was asked for."""
    return bool(request.config.getoption("--torture"))
