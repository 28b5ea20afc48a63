"""The comparison of printed texts accepts other last digits, and nothing else."""

import pytest

from tests.printed import assert_same_print

SAME = {
    "equal": ("J 1.5\nepoch 3\n", "J 1.5\nepoch 3\n"),
    "last digit": ("J 0.124", "J 0.125"),
    "within rel": ("J 123.4561", "J 123.4632"),
    "other width": ("J  9.9999 of 3", "J 10.0000 of 3"),
    "zeros dropped": ("J = 0.09999", "J = 0.1"),
    "exponents": ("gap 9.99e-05, b", "gap 0.0001, b"),
    "indented number": ("  9.99", "10"),
    "large whole number": ("J 1234567", "J 1234568"),
    "typographic minus": ("b −1.500", "b −1.501"),
}

DIFFERENT = {
    "word": ("J 1.5", "loss 1.5"),
    "further line": ("J 1.5\nb 2", "J 1.5"),
    "missing line": ("J 1.5", "J 1.5\nb 2"),
    "split line": ("J 1.5 b 2", "J 1.5\nb 2"),
    "empty line": ("J 1.5\n\nb 2", "J 1.5\nb 2"),
    "number": ("J 1.52", "J 1.50"),
    "sign": ("b -1.5", "b 1.5"),
    "count": ("44 epochs", "43 epochs"),
    "further number": ("J 1.5 2", "J 1.5"),
    "not finite": ("J nan", "J 1.5"),
    "joined": ("x1", "x 1"),
    "trimmed whole number": ("J 2", "J 1.5"),
}


@pytest.mark.parametrize(("printed", "shown"), SAME.values(), ids=SAME)
def test_same_print(printed: str, shown: str) -> None:
    assert_same_print(printed, shown)


@pytest.mark.parametrize(("printed", "shown"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_print(printed: str, shown: str) -> None:
    with pytest.raises(AssertionError):
        assert_same_print(printed, shown)


def test_tolerances() -> None:
    assert_same_print("gap 3.1e-17", "gap 0.0", abs=1e-15)
    assert_same_print("J 1.0500", "J 1.0000", rel=0.06)
    with pytest.raises(AssertionError, match=r"1\.0500 is not 1\.0000 in line 1"):
        assert_same_print("J 1.0500", "J 1.0000")
