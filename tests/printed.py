"""Compares printed text with the text that a page or a test shows, on any processor.

Processors add in different orders, so the last digits of a sum differ. Words and lines must be equal; numbers may
differ by a tolerance. Their widths may differ too (0.1 and 0.09999), so the blanks that pad them count as one.
"""

import re

NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def assert_same_print(printed: str, shown: str, rel: float = 1e-4, abs: float = 0.0) -> None:
    """Raises AssertionError unless both texts have the same lines and words, and numbers within a tolerance.

    Two numbers may differ by `rel` of the shown one, by `abs`, and, where one of them has decimals or an exponent, by
    one unit of the last digit: the values behind 0.124 and 0.125 may be as close as rounding can bring them. Whole
    numbers are mostly counts, and get no such unit.

    `rel`: float32 rounds to 6e-8 at each operation, and a run adds up thousands of them; a wrong formula or a lost row
    changes more than 1e-4. `abs` is for values that are zero but for rounding.
    """
    printed_lines, shown_lines = ([" ".join(line.split()) for line in text.splitlines()] for text in (printed, shown))
    for number, (line, shown_line) in enumerate(zip(printed_lines, shown_lines, strict=False), 1):
        where = f"line {number}\n printed: {line}\n shown:   {shown_line}\nin\n{printed}"
        assert NUMBER.sub("#", line) == NUMBER.sub("#", shown_line), f"the words differ in {where}"
        for one, other in zip(NUMBER.findall(line), NUMBER.findall(shown_line), strict=True):
            assert _close(one, other, rel, abs), f"{one} is not {other} in {where}"
    assert len(printed_lines) == len(shown_lines), f"printed\n{printed}\nshown\n{shown}"


def _close(printed: str, shown: str, rel: float, abs: float) -> bool:
    """Returns whether two printed numbers can come from the same value."""
    difference = max(_value(printed), _value(shown)) - min(_value(printed), _value(shown))
    unit = min(_last_unit(printed), _last_unit(shown))  # %g drops zeros: of 1 and 0.9999 the unit is 0.0001
    unit = 0.0 if unit == 1 else unit
    tolerance = max(rel * max(_value(shown), -_value(shown)), abs, unit)
    return difference <= tolerance * (1 + 1e-9)  # the tolerance is itself rounded


def _value(number: str) -> float:
    """Returns the number that a text holds, which may have the typographic minus."""
    return float(number.replace("−", "-"))


def _last_unit(number: str) -> float:
    """Returns the place of a number's last digit: 0.01 for 1.25, 1 for 125, 1e-5 for 1.2e-4."""
    mantissa, _, exponent = number.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))
