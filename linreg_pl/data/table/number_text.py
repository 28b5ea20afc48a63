"""Reads numbers from the texts that people and offices write.

1,234.5    1.234,5    1 234    1'234.5    12%    € 12    CHF 10    12 kg    (1.2)    −5
"""

import re
import unicodedata
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.decorated_numbers import is_decorated
from linreg_pl.data.table.text_shapes import ShapedTexts, cleaned


@dataclass(frozen=True)
class NumberShape:
    """The parts of a number's shape.

    Attributes:
        notations: The indices in `NumberFormat.notations` of the notations that allow these digits and separators.
        prefix: What is in front of the number, such as "€" or "CHF".
        suffix: What is behind it, such as "%" or "kg".
        parentheses: Whether the number is in parentheses.
        digits: The digits of a whole number without separators, at most 4; 0 for "0" and for other numbers.
        leading_zero: Whether it begins with a zero that a second digit follows.
    """

    notations: frozenset[int]
    prefix: str
    suffix: str
    parentheses: bool
    digits: int
    leading_zero: bool


@dataclass(frozen=True)
class NumberFormat:
    """The notation of a column of numbers.

    Args:
        decimal: The decimal separator.
        thousands: The separator between groups of digits, which numbers may leave out.
        prefix: What stands in front of each number, with or without a blank.
        suffix: What stands behind each number, with or without a blank.
        parentheses: Whether (1.2) is -1.2.
        missing: Further texts that stand for a missing value.
    """

    notations: ClassVar[tuple[tuple[str, str], ...]] = (
        (".", ""),
        (",", ""),
        (".", ","),
        (",", "."),
        (".", " "),
        (",", " "),
        (".", "'"),
        (",", "'"),
    )
    """Decimal and thousands separators, the most usual first."""

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
    parentheses: bool = False
    missing: tuple[str, ...] = ()

    def numbers(self, texts: pa.Array) -> pa.Array:
        """Returns the numbers in texts: float64 (n,), null where a text is null or not a number in this notation."""
        texts = cleaned(texts, self.missing)
        shaped = ShapedTexts.of(texts.drop_null() if texts.null_count else texts)
        fits = np.array([self.accepts(shape) for shape in shaped.shapes], bool)[shaped.codes]
        known = np.zeros(len(texts), bool)
        known[np.asarray(pc.is_valid(texts))] = fits
        kept = texts if known.all() else pc.if_else(pa.array(known), texts, None)
        return self._canonical(kept).cast(pa.float64())

    def accepts(self, shape: str) -> bool:
        """Says whether texts of this shape are numbers in this notation."""
        parts = number_shape(shape)
        return (
            parts is not None
            and self.notations.index((self.decimal, self.thousands)) in parts.notations
            and (parts.prefix, parts.suffix) == (self.prefix, self.suffix)
            and (self.parentheses or not parts.parentheses)
        )

    def _canonical(self, texts: pa.Array) -> pa.Array:
        """Returns numbers in this notation as Arrow reads them."""
        if self.parentheses:
            texts = pc.replace_substring_regex(texts, r"^\(\s*(.*)\)$", r"-\1")
        if self.suffix:
            texts = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(texts, 0, -len(self.suffix)))
        if self.prefix:
            texts = pc.replace_substring(texts, self.prefix, "", max_replacements=1)
        for separator in {self.thousands, " "} - {""}:
            texts = pc.replace_substring(texts, separator, "")
        if self.decimal != ".":
            texts = pc.replace_substring(texts, self.decimal, ".")
        return texts

    @property
    def unit(self) -> str:
        """Returns the unit behind each number, such as K or kg: others may be in another; empty for a currency."""
        return "" if is_symbol(self.suffix) or is_prefix(self.suffix) else self.suffix

    def to_dict(self) -> dict[str, Any]:
        """Returns the notation as plain values, for a checkpoint."""
        return {**asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NumberFormat":
        """Returns the notation that `to_dict` has stored."""
        return cls(**{**values, "missing": tuple(values["missing"])})


def is_symbol(decoration: str) -> bool:
    """Says whether a prefix or suffix is a currency symbol or a percent sign, which leave no doubt about numbers."""
    return len(decoration) == 1 and (decoration in "%‰" or unicodedata.category(decoration) == "Sc")


@lru_cache(maxsize=20_000)
def number_shape(shape: str) -> NumberShape | None:
    """Returns the parts of a shape that is a number, perhaps with a unit or a currency; None for other shapes.

    No notation reads measures and decorated numbers: 5'11", 12.50-, <0.5, 1_000. Labels are no numbers: Q1, week 3,
    1st, 75+, 15-24.
    """
    if re.fullmatch(r"[+-]?inf(inity)?", shape, re.IGNORECASE):
        return NumberShape(frozenset(range(len(NumberFormat.notations))), "", "", False, 0, False)
    if re.fullmatch(r"[09]9?'\s*[09]9?([.,]9+)?(\"|'')?", shape):  # 5'11"
        return NumberShape(frozenset(), "", "'", False, 0, False)
    return _plain_shape(shape) or (NumberShape(frozenset(), "", "'", False, 0, False) if is_decorated(shape) else None)


def _plain_shape(shape: str) -> NumberShape | None:
    """Returns the parts of a shape that some notation reads; None for other shapes."""
    match = _number_pattern().fullmatch(shape)
    if match is None:
        return None
    before, body, after = (match[name] or "" for name in ("before", "body", "after"))
    whole = bool(match["open"])
    signs = (match["sign"] or "") + (match["sign2"] or "")
    if len(signs) > 1 or whole != bool(match["close"]) or (whole and signs) or not is_prefix(before):
        return None
    # Ordinals and open ranges are labels.
    if after in ("st", "nd", "rd", "th", "+") or re.match(r"[-<>=/|&;:+]", after):
        return None
    notations = frozenset(index for index, pattern in enumerate(_body_patterns()) if pattern.fullmatch(body))
    if not notations:
        return None
    digits = min(len(body), 4) if re.fullmatch("9+", body) and not match["exponent"] else 0
    return NumberShape(notations, before, after, whole, digits, re.match("09", body) is not None)


@lru_cache
def _number_pattern() -> re.Pattern[str]:
    return re.compile(
        r"(?P<open>\()?\s*(?P<sign>[+-])?\s*(?P<before>(?:[^09()+\-.,'\s]{1,5}\.?)??)\s*(?P<sign2>[+-])?"
        r"(?P<body>[09.,][09.,' ]*?)(?P<exponent>[eE][+-]?[09]+)?"
        r"\s*(?P<after>[^09\s().,'][^09()]{0,11})?(?P<close>\))?"
    )


@lru_cache
def _body_patterns() -> list[re.Pattern[str]]:
    """Returns the pattern of the digits and separators of each notation."""
    patterns = []
    for decimal, thousands in NumberFormat.notations:
        whole = "[09]9*"
        if thousands:
            # Groups of three, or as in India 12,34,567.
            whole += rf"|99?9?(?:{re.escape(thousands)}999)+"
            whole += "|99?(?:,99)+,999" if thousands == "," else ""
        point = re.escape(decimal)
        patterns.append(re.compile(rf"(?:{whole})(?:{point}9*)?|{point}9+"))
    return patterns


def is_prefix(before: str) -> bool:
    """Says whether a text in front of digits goes with a number: a currency, or a sign such as ~ for about."""
    codes = (
        "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NGN NOK"
        " NZD PEN PHP PKR PLN RON RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR Rs Rs. Fr. Kr kr kr. US$ A$ C$ R$ HK$ NZ$"
    )
    return not before or is_symbol(before) or before in codes.split() or before in ("~", "≈", "=", "±", "*")
