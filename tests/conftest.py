"""Settings of every test."""

import pytest
from hypothesis import settings

# A shared machine can stall any example; the time that one takes says nothing about the program.
settings.register_profile("linreg", deadline=None, derandomize=True)
settings.load_profile("linreg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="the full form of the reliability tests: hours of kills")


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether the full form is asked for."""
    return bool(request.config.getoption("--torture"))
