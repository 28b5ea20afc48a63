"""Sets up hypothesis and the flags of all tests."""

import pytest
from hypothesis import settings

# No deadline: a busy machine can stall any example.
settings.register_profile("linreg", deadline=None, derandomize=True)
settings.load_profile("linreg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--torture", action="store_true", help="run the long form of the reliability tests: an hour of kills"
    )


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Returns whether the long form was asked for."""
    return bool(request.config.getoption("--torture"))
