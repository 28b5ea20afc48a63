"""Columns of texts: what each is taken for, on both sides of every rule, and exact numbers from every notation."""

import datetime as dt
import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.number_text import NumberFormat
from linreg_pl.data.table.text_column import TextColumn
from linreg_pl.data.table.verdicts import Categories, Dates, Doubt, LeftOut, Numbers, TextRules, Verdict


def column(texts: Sequence[str | None], batch: int = 1000, **rules: Any) -> TextColumn:
    """Returns a column that was looked through in batches."""
    looked = TextColumn(TextRules(**rules))
    for first in range(0, len(texts), batch):
        looked.add(pa.array(texts[first : first + batch], pa.string()), first)
    return looked


def verdict(texts: Sequence[str | None], **rules: Any) -> Verdict:
    """Returns what a column is."""
    return column(texts, **rules).verdict()


def flags(texts: Sequence[str | None], **rules: Any) -> list[tuple[str, Any]]:
    """Returns the remedies of a column in doubt."""
    doubt = verdict(texts, **rules)
    assert isinstance(doubt, Doubt), doubt
    return [(remedy.flag, remedy.value) for remedy in doubt.remedies]


def values(texts: Sequence[str | None], **rules: Any) -> list[float | None]:
    """Returns the numbers of a column that leaves no doubt."""
    read = verdict(texts, **rules)
    assert isinstance(read, Numbers | Dates), read
    numbers: list[float | None] = (
        type(read.format).from_dict(read.format.to_dict()).numbers(pa.array(texts)).to_pylist()
    )
    return numbers


NUMBERS: list[tuple[list[str | None], list[float | None]]] = [
    (["1", " 2.5 ", None, "", "1e-3", ".5", "5.", "+7"], [1, 2.5, None, None, 0.001, 0.5, 5, 7]),
    (["−5", "4"], [-5, 4]),
    (["506,981.8", "1,234,567", "12"], [506981.8, 1234567, 12]),
    (["1.234,5", "3"], [1234.5, 3]),
    (["3,25", "1,234"], [3.25, 1.234]),
    (["0,125", "1,234"], [0.125, 1.234]),
    (["-0,125", "1,234"], [-0.125, 1.234]),
    (["1,234", "567"], [1234, 567]),
    (["1 234", "1 234 567", "22"], [1234, 1234567, 22]),
    (["1\u202f234,5", "1\u00a0000"], [1234.5, 1000]),
    (["1'234.5", "1’000"], [1234.5, 1000]),
    (["12,34,567.8", "1"], [1234567.8, 1]),
    (["1.234.567", "1.000"], [1234567, 1000]),
    (["12%", "5 %", "-1.5%"], [12, 5, -1.5]),
    (["€ 12", "€3", "-€5", "€-6"], [12, 3, -5, -6]),
    (["1.234,50 €", "3 €"], [1234.5, 3]),
    (["$1,234.50", "$0.99"], [1234.5, 0.99]),
    (["01234", "99999"], [1234, 99999]),
    (["1", "2", "-", "NA", "n/a", ".", "?", "..", "--", "None"], [1, 2, *[None] * 8]),
    (["1", "inf", "-Infinity"], [1, math.inf, -math.inf]),
]


@pytest.mark.parametrize(("texts", "numbers"), NUMBERS, ids=lambda value: str(value[0]))
def test_notations_of_numbers(texts: list[str | None], numbers: list[float | None]) -> None:
    assert values(texts) == numbers


DOUBTS: list[tuple[list[str | None], str, str]] = [
    (["12 kg", "3 kg"], "12 kg", "numbers"),
    (["CHF 10", "CHF 12"], "CHF 10", "numbers"),
    (["10K", "3K"], "10K", "numbers"),
    (["1.5", "(1.2)"], "(1.2)", "numbers"),
    (["1,234", "5,678"], "1,234", "decimal"),
    (["01/02/2024", "03/04/2024"], "01/02/2024", "day_first"),
    (["01/02/03", "03/04/05"], "01/02/03", "day_first"),
    (["12%", "7%", "5"], "5", "exclude"),
    (["5'11\"", "6'1\""], "5'11\"", "exclude"),
    (["500 g", "12 kg"], "500 g", "exclude"),
    (["2024-01-05T10:00:00Z", "2024-01-05T11:00Z", "2024-01-05T10:00:00"], "2024-01-05T10:00:00", "exclude"),
    (["z", "2", "6", "2", "6"], "z", "categorical"),
    (["12%", "7%", "5"] * 2, "5", "categorical"),
    (["500 g", "12 kg"] * 2, "500 g", "categorical"),
    ([*(f"{i} kg" for i in range(9)), *(f"{i} g" for i in range(6))], "0 g", "exclude"),
    ([*(f"€{i}" for i in range(9)), *(f"${i}" for i in range(6))], "$0", "exclude"),
    ([*(f"{i}%" for i in range(9)), *(f"0.{i}" for i in range(6))], "0.0", "exclude"),
    ([*(f"{i}.5" for i in range(9)), *(f"{i},5" for i in range(6))], "0,5", "exclude"),
    (["ground", "1", "2", "3"] * 9, "ground", "categorical"),
]


@pytest.mark.parametrize(("texts", "value", "flag"), DOUBTS, ids=lambda value: str(value))
def test_columns_in_doubt(texts: list[str | None], value: str, flag: str) -> None:
    doubt = verdict(texts)
    assert isinstance(doubt, Doubt), doubt
    assert doubt.value == value
    assert doubt.row is not None
    assert texts[doubt.row] == value
    assert doubt.remedies[0].flag == flag
    assert ("exclude", None) in flags(texts)


def test_remedies_settle_doubts() -> None:
    assert values(["12 kg", "(3 kg)", "5kg"], numbers=True) == [12, -3, 5]
    assert values(["CHF 1'010", "CHF -12"], numbers=True) == [1010, -12]
    assert values(["1.5", "(1.2)"], numbers=True) == [1.5, -1.2]
    assert values(["1,234", "5,678"], decimal=",") == [1.234, 5.678]
    assert values(["1,234", "5,678"], decimal=".") == [1234, 5678]
    assert values(["1.234", "5.678"], decimal=",") == [1234, 5678]
    assert values(["3.25", "5"], decimal=",") == [3.25, 5]  # nothing else fits
    assert values(["01/02/2024"], day_first=True) == [19754]
    assert values(["01/02/2024"], day_first=False) == [19724]
    assert values(["1", "2", "J"], missing_values=frozenset({"J"})) == [1, 2, None]
    assert verdict(["12 kg", "3 kg"], categorical=True) == Categories(["12 kg", "3 kg"])


@pytest.mark.parametrize("odd", ["unknown", "#DIV/0!", "#VALUE!"])
def test_one_odd_value_among_numbers(odd: str) -> None:
    texts = [*map(str, range(36)), odd]
    doubt = verdict(texts)
    assert isinstance(doubt, Doubt)
    assert (doubt.row, doubt.value) == (36, odd)
    assert flags(texts)[0] == ("missing_values", [odd])
    assert values(texts, missing_values=frozenset({odd})) == [*range(36), None]


LABELS = ["Q1 Q2", "15-24 25-34 75+", "<1l 1-1.5l 1.5-2l >2l", "A1 B2", "1st 2nd 3rd", "1a 1b 2a", "yes no"]
LABELS += [
    "<18 18-65 >65",
    *("[0,1) [1,2) [2,5]", "(0,10] (10,20] (-5,0]"),  # as R's cut writes them
    "<18 18+",
    "0–4 5–9 >9",
    "1935- 1936-1940",
    "1.2.3 1.2.4",
    "(a) (b)",
    "0x10 0x11",
    "a1_2 b1_3",
]
LABELS += ["True False", "J Q 2 3", "A B C 1 2", "1998-99 1999-00 2000-01", "1999-13-01 2023-02-29", "+ -", "#1 #2"]


@pytest.mark.parametrize("words", LABELS)
def test_labels_are_categories(words: str) -> None:
    texts = [*words.split()] * 9
    read = verdict(texts)
    assert isinstance(read, Categories), read
    assert read.categories == sorted(words.split())


DECORATED = [
    "12.50-",
    "5.-",
    ">0.5",
    "> 0.5",
    "≤7",
    ">=2",
    "5/-",
    "5;",
    "[5]",
    "'5",
    '="5"',
    "1.5±0.1",
    "1.5 ± 0.1",
    "5+/-1",
]
DECORATED += ["1.5(0.1)", "1_000", "1_000_000.5", "0.5x10^3", "3 1/2"]


@pytest.mark.parametrize("text", DECORATED)
def test_decorated_numbers_are_in_doubt(text: str) -> None:
    """They are neither categories nor numbers unless the user says so, alone and beside fewer plain numbers."""
    others = [text.replace("5", "7").replace("1", "2").replace("2", "3"), text.replace("5", "6").replace("1", "4")]
    for texts in ([text, *others] * 9, [text, *others] * 9 + ["1", "2"] * 9, [text] * 9 + ["1", "2", "3"] * 3):
        doubt = verdict(texts)
        assert isinstance(doubt, Doubt), doubt
        assert doubt.value == text
        assert {"categorical", "exclude"} <= {remedy.flag for remedy in doubt.remedies}
        assert isinstance(verdict(texts, categorical=True), Categories)
        assert isinstance(verdict(texts, numbers=True), Doubt)


QUOTED = ["'{}'", '"{}"', ' "{}"', '" {} "']


@pytest.mark.parametrize("form", QUOTED)
def test_quoted_numbers_are_read(form: str) -> None:
    numbers = [5, -2.25, 1000, 0.5]
    assert values([form.format(number) for number in numbers]) == numbers
    assert values([*map(str, numbers), form.format(7)]) == [*numbers, 7]


@given(st.floats(-1e9, 1e9), st.sampled_from(["０", "٠", "۰"]))
def test_digits_of_other_scripts(number: float, zero: str) -> None:
    """Python reads such digits, too."""
    text = f"{number:.3f}".translate({ord("0") + digit: ord(zero) + digit for digit in range(10)})
    assert values([text, "2.5"]) == [float(text), 2.5]
    assert values([text.replace(".", "٫"), "2.5"]) == [float(text), 2.5]


def test_one_number_among_labels() -> None:
    read = verdict([*["art", "law"] * 9, "12.50"])
    assert read == Categories(["12.50", "art", "law"], False, "is read as categories; one of them is '12.50'")
    assert isinstance(verdict(["week 3", "week 4"] * 9), Categories)


def test_half_numbers_is_the_border() -> None:
    labels = [f"label {index}" for index in range(30)]
    numbers = [f"{index}" for index in range(30)]
    assert isinstance(verdict(labels + numbers, max_categories=1000, wanted=True), Categories)
    assert isinstance(verdict(labels[1:] + numbers, max_categories=1000, wanted=True), Doubt)


def test_columns_that_are_left_out() -> None:
    ids = [f"L-{index}" for index in range(120)]
    assert verdict(ids) == LeftOut("differs in 120 of 120 rows")
    assert isinstance(verdict(ids, wanted=True, max_categories=120), Categories)
    assert isinstance(verdict(ids[:10]), Categories)
    assert isinstance(verdict(ids[:11]), LeftOut)
    assert isinstance(verdict([*ids[:90], *ids[:10]]), LeftOut)  # 90 of 100
    assert isinstance(verdict([*ids[:89], *ids[:11]]), Categories)  # 89 of 100
    assert isinstance(verdict([*ids, *ids[:110]], max_categories=119), LeftOut)  # more than half of the rows
    assert isinstance(verdict([*ids, *ids], max_categories=119), Doubt)
    assert verdict([None, "", " "]) == LeftOut("is empty")
    assert verdict([]) == LeftOut("is empty")
    assert verdict(["-", "-"]) == LeftOut("is empty but for '-'")
    assert verdict(["NA", "NA"]) == LeftOut("is empty but for 'NA'")


def test_rare_categories() -> None:
    texts = [f"c{index}" for index in range(5) for _ in range(5 - index)] * 9
    assert isinstance(verdict(texts, max_categories=5), Categories)
    assert flags(texts, max_categories=4) == [("rare", "other"), ("exclude", None), ("max_categories", 5)]
    assert verdict(texts, max_categories=4, rare_as_other=True) == Categories(["c0", "c1", "c2"], True)
    texts += ["other"] * 100  # a category of this name joins the rest
    assert verdict(texts, max_categories=4, rare_as_other=True) == Categories(["c0", "c1", "c2"], True)
    assert verdict(texts, max_categories=6) == Categories(["c0", "c1", "c2", "c3", "c4", "other"])


def test_targets_have_no_categories() -> None:
    assert [flag for flag, _ in flags(["a", "b"], categories_allowed=False)] == []
    assert flags(["12 kg", "3 kg"], categories_allowed=False) == [("numbers", None)]
    assert flags(["1", "2", "3", "x"], categories_allowed=False) == [("missing_values", ["x"])]


def test_missing_values_are_counted() -> None:
    looked = column(["1", None, "", "-", "x"], missing_values=frozenset({"x"}))
    assert isinstance(looked.verdict(), Numbers)
    assert looked.num_missing == 4
    assert looked.num_rows == 5
    labels = column(["a", "-", "x", "a", None], missing_values=frozenset({"x"}))
    assert labels.verdict() == Categories(["-", "a"])
    assert labels.num_missing == 2


def days(moment: dt.datetime | dt.date) -> float:
    """Returns the days since 1970-01-01 by datetime's own arithmetic."""
    if not isinstance(moment, dt.datetime):
        return (moment - dt.date(1970, 1, 1)) / dt.timedelta(days=1)
    zone = dt.UTC if moment.tzinfo else None
    return (moment - dt.datetime(1970, 1, 1, tzinfo=zone)) / dt.timedelta(days=1)


DATES = [
    ("31.12.2023", dt.date(2023, 12, 31)),
    ("1.2.2024", dt.date(2024, 2, 1)),
    ("12/31/2023", dt.date(2023, 12, 31)),
    ("31/12/23", dt.date(2023, 12, 31)),
    ("99-12-31", dt.date(1999, 12, 31)),
    ("31.12.69", dt.date(1969, 12, 31)),
    ("31.12.68", dt.date(2068, 12, 31)),
    ("2024-01", dt.date(2024, 1, 1)),
    ("2024/1/5", dt.date(2024, 1, 5)),
    ("2024-02-29", dt.date(2024, 2, 29)),
    ("2000-02-29", dt.date(2000, 2, 29)),
    ("Jan 5, 2024", dt.date(2024, 1, 5)),
    ("January 5th, 2024", dt.date(2024, 1, 5)),
    ("5 January 2024", dt.date(2024, 1, 5)),
    ("05-Jan-24", dt.date(2024, 1, 5)),
    ("05JAN2024", dt.date(2024, 1, 5)),
    ("Sept 2024", dt.date(2024, 9, 1)),
    ("Mon, 5 Feb 2024 7:05 pm", dt.datetime(2024, 2, 5, 19, 5)),
    ("2024-01-05 12:30 AM", dt.datetime(2024, 1, 5, 0, 30)),
    ("2024-01-05T10:00:00Z", dt.datetime(2024, 1, 5, 10, tzinfo=dt.UTC)),
    ("2024-01-05 01:30:00.25+02:00", dt.datetime(2024, 1, 4, 23, 30, 0, 250000, tzinfo=dt.UTC)),
    ("2024-01-05T23:00-0130", dt.datetime(2024, 1, 6, 0, 30, tzinfo=dt.UTC)),
]


@pytest.mark.parametrize(("text", "moment"), DATES, ids=lambda value: str(value))
def test_notations_of_dates(text: str, moment: dt.date) -> None:
    assert values([text]) == [days(moment)]


@pytest.mark.parametrize("text", ["1999-13-01", "2023-02-29", "1900-02-29", "31.04.2023", "2024-01-05 24:01", "23:60"])
def test_dates_that_do_not_exist(text: str) -> None:
    assert isinstance(verdict([text] * 3), Categories)
    doubt = verdict(["2024-01-05", "2024-01-06", text])
    assert isinstance(doubt, Doubt)
    assert doubt.value == text


def test_clock_times() -> None:
    assert values(["23:59", "7:05:30.5", "12:00 am"]) == [86340 / 86400, 25530.5 / 86400, 0]


def test_day_first_is_detected() -> None:
    assert values(["01/02/2024", "13/02/2024"]) == [19754, 19766]
    assert values(["01/02/2024", "02/13/2024"]) == [19724, 19766]
    assert values(["01.02.2024"]) == [19754]


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), st.sampled_from(["T", " "]), st.booleans())
def test_times_equal_datetime(moment: dt.datetime, between: str, seconds: bool) -> None:
    if seconds or not 1700 < moment.year < 2250:  # beyond, float64 does not hold the microseconds
        moment = moment.replace(microsecond=0)
    text = moment.isoformat(between)
    number = DateFormat().numbers(pa.array([text]))[0].as_py()
    expected = days(moment)
    assert number == expected if 1700 < moment.year < 2250 else math.isclose(number, expected, rel_tol=1e-15)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_bit_for_bit(number: float) -> None:
    read = NumberFormat().numbers(pa.array([repr(number), f"{number:.3f}"]))
    assert np.array(read[0].as_py()).tobytes() == np.array(number).tobytes()
    assert read[1].as_py() == float(f"{number:.3f}") or len(f"{number:.3f}") > 64


@given(st.decimals(-(10**12), 10**12, places=3), st.sampled_from(NumberFormat.notations), st.sampled_from(" €"))
def test_notations_equal_decimal(number: Decimal, notation: tuple[str, str], unit: str) -> None:
    decimal, thousands = notation
    text = f"{number:,}".translate({ord(","): thousands, ord("."): decimal})
    form = NumberFormat(decimal, thousands, suffix=unit.strip())
    assert form.numbers(pa.array([f"{text} {unit}"])).to_pylist() == [float(number)]


TEXTS = st.sampled_from(
    """1; 2.5; 1,234; 3,25; 1.234; 12 kg; 5 g; 7%; € 3; (1); -; NA; x; y; J; 01/02/2024; 13/02/2024; 02/13/2024
    2024-01-05; 2024-13-01; 2024-01-05T10:00Z; 10:30; 1998-99; 1999-00; 5'11"; 1st; 007; long label; Köln; −5; 1a; 2b
    """.replace("\n", ";").split(";")
)


@given(st.lists(TEXTS, max_size=60), st.data())
def test_batches_do_not_matter(texts: list[str], data: st.DataObject) -> None:
    rules: dict[str, Any] = {"max_categories": data.draw(st.sampled_from([3, 100]))}
    whole = column([*texts], batch=100, **rules)
    parts = TextColumn(TextRules(**rules))
    cuts = sorted({0, len(texts), *data.draw(st.lists(st.integers(0, len(texts)), max_size=4))})
    batches = data.draw(st.permutations(list(itertools.pairwise(cuts))))
    for start, end in batches:
        parts.add(pa.array(["cut off", *texts], pa.string()).slice(start + 1, end - start), start)
    assert parts.verdict() == whole.verdict()
    assert parts.num_missing == whole.num_missing


def test_many_units_are_text() -> None:
    streets = [f"{number} {'abcdefghijkl'[number]}x St" for number in range(12)] * 3
    assert isinstance(verdict(streets), Categories)
    backwards = TextColumn(TextRules())
    for row in reversed(range(len(streets))):
        backwards.add(pa.array([streets[row]], pa.string()), row)
    assert backwards.verdict() == verdict(streets)


def test_many_texts_in_bounded_memory() -> None:
    texts = [f"{number * 7919 % 30011:x}" for number in range(60_000)]
    one, other = column(texts, batch=7000), column(texts, batch=60_000)
    assert one.verdict() == other.verdict()
    few = verdict(texts, wanted=True)
    assert isinstance(few, Doubt)
    assert [remedy.flag for remedy in few.remedies] == ["rare", "exclude"]
    assert abs(int(few.reason.split()[2]) / 30011 - 1) < 0.05
