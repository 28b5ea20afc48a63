"""The comparison of printed with shown output accepts rounding, and nothing else."""

import pytest

from tests.pages import PAGES, ROOT, assert_aligned, assert_shown

SHOWN = """\
fitting 442 rows, 10 features
epoch      0   loss  770893760.000   W 0.064   b -0.003
…
epoch   1900   loss          0.111   W 3.657   b -0.002
          fitted        exact  s.e. off   forecast, actual
  W      3.65699        3.657     7.034       344     350
  W/s3   1.88492      4.80615     0.289        -         -
  b      152.133      152.133     0.000       70        70
gap      0.00235 above the exact loss, 0.1089: 2.11e-09% of the variance explained
run      lightning_logs/version_0
"""

PRINTED = SHOWN.replace(
    "…",
    "epoch    100   loss   52841060.000   W 2.716   b -0.003\nepoch    200   loss    3622045.250   W 3.411   b -0.002",
)


def test_equal_output_passes() -> None:
    assert_shown(PRINTED, SHOWN)
    assert_shown(PRINTED, PRINTED)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("  W/s3   1.88492      4.80615 ", "  W/s3    1.8849      4.80615 "),  # another width
        ("          fitted        exact", "         fitted        exact"),  # the header moves with the numbers
        ("770893760.000", "770893888.000"),  # the sum of a batch, in another order
        ("loss          0.111", "loss          0.112"),  # the last digit
        ("b -0.003\nepoch    200", "b -0.002\nepoch    200"),  # a number that is left out
        ("0.1089", "0.109"),
        ("3.657     7.034", "3.657     7.245"),  # the next number in float32
        ("4.80615     0.289", "4.80615     0.290"),  # the last digit
        ("152.133      152.133", "152.134      152.133"),
        ("gap      0.00235", "gap      0.00249"),  # W ends one float32 number further away
        (
            "gap      0.00235 above the exact loss, 0.1089: 2.11e-09%",
            "gap   0.00249 above the exact loss, 0.1089: 2.24e-09%",
        ),
    ],
)
def test_rounding_passes(shown: str, printed: str) -> None:
    assert shown in PRINTED
    assert_shown(PRINTED.replace(shown, printed), SHOWN)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("fitting", "training"),  # another word
        ("10 features", "11 features"),  # a whole number
        ("version_0", "version_1"),  # digits of a word
        ("W/s3   1.88492", "W/s3   1.88552"),  # wrong by more than rounding
        ("W 3.657   b -0.002\n  ", "W 3.660   b -0.002\n  "),
        ("W/s3", "W/s2"),
        ("0.00235 above", "0.00335 above"),
        ("2.11e-09%", "2.11e-08%"),
        ("4.80615     0.289", "4.80615     0.295"),
        ("3.657     7.034", "3.657     7.634"),
        ("3.657     7.034", "3.657         -"),
        ("3.657     7.034       344     350", "3.657               344     350"),
        ("152.133     0.000", "152.133     0.012"),
        ("4.80615     0.289", "4.80615         -"),
        ("-         -", "-        70"),  # a number instead of none
        ("70        70", "70        80"),
        ("  b      152.133      152.133     0.000       70        70\n", ""),  # a missing line
        ("fitting 442 rows, 10 features\n", ""),
        ("epoch   1900", "\nepoch   1900"),  # an empty line more
        ("run      lightning_logs/version_0\n", "run      lightning_logs/version_0\nmore\n"),
        ("epoch    200   loss    3622045.250", "WARNING  200   loss is 3622045.250"),  # of another kind, left out
        ("   W 3.411", ""),
    ],
)
def test_differences_are_found(shown: str, printed: str) -> None:
    assert shown in PRINTED
    with pytest.raises(AssertionError):
        assert_shown(PRINTED.replace(shown, printed), SHOWN)


def test_something_is_left_out() -> None:
    with pytest.raises(AssertionError, match="leaves nothing out"):
        assert_shown(SHOWN.replace("…\n", ""), SHOWN)


def test_shown_lines_keep_their_order() -> None:
    first, second, third = (f"epoch {i} loss {i}.5" for i in range(3))
    assert_shown(f"{first}\n{second}\n{third}\n", f"{first}\n…\n{third}\n")
    with pytest.raises(AssertionError):
        assert_shown(f"{third}\n{second}\n{first}\n", f"{first}\n…\n{third}\n")


def test_several_parts_are_left_out() -> None:
    printed = "".join(f"epoch {i} loss {i}.5\n" for i in range(9))
    assert_shown(printed, "epoch 0 loss 0.5\n…\nepoch 4 loss 4.5\n…\nepoch 8 loss 8.5\n")
    assert_shown(printed, "epoch 0 loss 0.5\n…\n")
    with pytest.raises(AssertionError):
        assert_shown(printed, "epoch 0 loss 0.5\n…\nepoch 4 loss 4.9\n…\nepoch 8 loss 8.5\n")


TABLE = """\
          fitted        exact  s.e. off  forecast  actual
  W      3.65699        3.657     7.034       344     350
  b  -0.00238792            0     0.362    4.4e10       -
gap      0.00235 above
"""


def test_columns_end_below_their_titles() -> None:
    assert_aligned(TABLE)
    assert_aligned(TABLE + "\n".join((ROOT / page).read_text() for page in PAGES))
    moves = [("W      3", "W     3"), ("7.034", "7.034 "), ("344 ", "344  "), ("4.4e10", "4.4e10 ")]
    for aligned, moved in (*moves, ("fitted ", "fitted")):
        assert aligned in TABLE
        with pytest.raises(AssertionError):
            assert_aligned(TABLE.replace(aligned, moved))


def test_preconditioned_run_arrives() -> None:
    shown = (
        "  b          152.133      152.133     0.000\n"
        "gap      4.87e-12 above the exact loss, 2859.7: each coefficient within 0.001 standard errors\n"
    )
    for same in (("4.87e-12", "6.1e-11"), ("0.001", "0.0011")):
        assert_shown(shown.replace(*same), shown)
    for other in (("4.87e-12", "4.87e-05"), ("0.001", "0.0013"), ("0.000", "0.010"), ("2859.7", "2860.7")):
        with pytest.raises(AssertionError):
            assert_shown(shown.replace(*other), shown)
