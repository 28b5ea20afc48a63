"""Computes quantiles of Student's t distribution, for whole degrees of freedom.

Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4 (its probability, as a finite sum) and
26.7.5 (its quantile for many degrees of freedom, as a series).
"""

import math

import torch


def student_quantile(probability: float, degrees: int) -> float:
    """Returns the t for which a Student t variable lies in -t … t with `probability`; infinity where `degrees` < 1.

    Raises:
        ValueError: `probability` is not between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}: give a number between 0 and 1")
    if degrees < 1:
        return math.inf
    if degrees >= 1000:  # where the series' next term, degrees to the minus fifth power, is below float64's digits
        normal = float(torch.special.ndtri(torch.tensor((1 + probability) / 2, dtype=torch.float64)))
        return _series(normal, degrees)
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / √degrees
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _within(middle, degrees) < probability else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    """Computes P(|T| < √degrees · tan(angle))."""
    square = math.cos(angle) ** 2
    odd = degrees % 2
    term = total = (math.cos(angle) if odd else 1.0) if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= square * (k - 1) / k
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def _series(z: float, degrees: int) -> float:
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
