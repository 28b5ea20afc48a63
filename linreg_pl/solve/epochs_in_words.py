"""Formats numbers of epochs, and the forecast of a run, for the terminal."""

import math

MOST_NAMED = 4
"""Coefficients that a printed line names one by one, at most."""


def forecast_in_words(epochs: dict[str, float], length: float, ends: bool = False) -> str:
    """Describes the forecast in one sentence.

    Names each coefficient if they are few; otherwise counts those within 1% of their exact value by the run's end.

    Args:
        epochs: Epochs until each coefficient keeps less than 1% of its initial error; infinite for never.
        length: Epochs of the run.
        ends: The learning rate's schedule ends with the run, so no coefficient converges later.
    """
    ordered = sorted(epochs.items(), key=lambda item: item[1])
    if len(ordered) <= MOST_NAMED:
        (name, soonest), *others = ordered
        first = f"is within 1% by epoch {shown_epochs(soonest)}" if math.isfinite(soonest) else _by(soonest)
        return "; ".join([f"{name} {first}", *(f"{name} {_by(needed)}" for name, needed in others)])
    in_time = sum(needed <= length for _, needed in ordered)
    never = sum(not math.isfinite(needed) for _, needed in ordered)
    name, last = ordered[-1]
    if ends and in_time < len(ordered):
        return f"{in_time} of {len(ordered)} coefficients are within 1% by the run's end"
    rest = f"{never} never converge" if never else f"the last, {name}, by epoch {shown_epochs(last)}"
    return f"{in_time} of {len(ordered)} coefficients are within 1% by the run's end; {rest}"


def _by(epochs: float) -> str:
    """Returns `by 4.6e10`, or what an infinite forecast means: the run diverges, or its schedule ends too early."""
    return (
        f"by {shown_epochs(epochs)}" if math.isfinite(epochs) else "will still be more than 1% off when this run ends"
    )


def shown_epochs(epochs: float) -> str:
    """Formats a number of epochs: a whole number, or two digits and a power of ten (344, 4.6e10), or `never`."""
    if not math.isfinite(epochs):
        return "never"
    if epochs < 1e6:
        return str(math.ceil(epochs))
    mantissa, exponent = f"{epochs:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
