"""Formats numbers of epochs, and the forecast of a run, for the terminal."""

import math

MOST_NAMED = 4
"""Coefficients that a printed line names one by one, at most."""


def forecast_in_words(epochs: dict[str, float], length: float, ends: bool = False) -> str:
    """Describes the forecast in one sentence.

    Names each coefficient if they are few; otherwise counts those within 1% of their exact value by the run's end.

    Args:
        epochs: Epochs until each coefficient keeps less than 1% of its initial error; infinite for never.
        length: Epochs of the run; infinite for a run without an end.
        ends: The learning rate's schedule ends with the run, so no coefficient converges later.
    """
    has_end = math.isfinite(length)
    never = "will still be more than 1% off when this run ends" if has_end else "does not converge"
    ordered = sorted(epochs.items(), key=lambda item: item[1])
    if len(ordered) <= MOST_NAMED:
        by = [f"by {shown_epochs(needed)}" if math.isfinite(needed) else never for _, needed in ordered]
        soonest = by[0].replace("by", "is within 1% by epoch", 1) if by[0] != never else never
        return "; ".join(f"{name} {words}" for (name, _), words in zip(ordered, [soonest, *by[1:]], strict=True))
    in_time = sum(needed <= length and math.isfinite(needed) for _, needed in ordered)
    num_never = sum(not math.isfinite(needed) for _, needed in ordered)
    name, last = ordered[-1]
    when = " by the run's end" if has_end else ""
    share = f"{in_time} of {len(ordered)} coefficients {'are' if has_end else 'come'} within 1%{when}"
    if ends and in_time < len(ordered):
        return share
    rest = f"{num_never} never converge" if num_never else f"the last, {name}, by epoch {shown_epochs(last)}"
    return f"{share}; {rest}"


def shown_epochs(epochs: float) -> str:
    """Formats a number of epochs: a whole number, or two digits and a power of ten (344, 4.6e10), or `never`."""
    if not math.isfinite(epochs):
        return "never"
    if epochs < 1e6:
        return str(math.ceil(epochs))
    mantissa, exponent = f"{epochs:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun: `1 epoch`, `2 epochs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
