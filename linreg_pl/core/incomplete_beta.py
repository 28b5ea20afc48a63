"""Computes the tails of Student's t and of the F distribution by the regularized incomplete beta function I_x(a, b).

    P(F > f) = I_x(d₂/2, d₁/2), x = d₂ / (d₂ + d₁ f)          P(|T| > t) = I_x(ν/2, 1/2), x = ν / (ν + t²)

(NIST Digital Library of Mathematical Functions, 8.17; Abramowitz and Stegun, 26.6.2 and 26.7.1). I_x is a power of x
and 1 - x by a continued fraction (DiDonato and Morris, "Algorithm 708", ACM Transactions on Mathematical Software 18,
1992, section 9). The logarithm of that power is written in deviations from the mean, as Loader does ("Fast and accurate
computation of binomial probabilities", 2000): differences of log Γ would lose 8 of 16 digits at millions of degrees of
freedom.
"""

import math


def f_tail(f: float, between: float, within: float) -> float:
    """Returns P(F > f) for an F variable with `between` and `within` degrees of freedom.

    NaN where these are not above 0. The relative error is below 1e-12, in far tails too.
    """
    if not (between > 0 and within > 0) or math.isnan(f):
        return math.nan
    if f <= 0:
        return 1.0
    if f == math.inf:
        return 0.0
    return _beta(within / 2, between / 2, within / (within + between * f), between * f / (within + between * f))


def t_tails(t: float, degrees: float) -> float:
    """Returns P(|T| > |t|) for a Student t variable; NaN where `degrees` is not above 0."""
    return f_tail(t * t, 1.0, degrees)


def _beta(a: float, b: float, x: float, y: float) -> float:
    """Computes I_x(a, b), where y = 1 - x."""
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side only
        return 1 - _beta(b, a, y, x)
    surplus = x * b - y * a  # of x over its mean a / (a + b), times a + b
    power = math.exp(
        a * _log_excess(surplus / a, x * (a + b) / a)
        + b * _log_excess(-surplus / b, y * (a + b) / b)
        + _stirling_error(a + b)
        - _stirling_error(a)
        - _stirling_error(b)
    )
    return math.sqrt(a * b / (2 * math.pi * (a + b))) * power / _fraction(a, b, x, y, surplus)


def _log_excess(excess: float, ratio: float) -> float:
    """Computes log(ratio) - excess without cancellation, where excess = ratio - 1."""
    if abs(excess) > 0.3:
        return math.log(ratio) - excess if ratio else -math.inf
    # log(1 + r) = 2 artanh(s) with s = r / (2 + r), and 2 s - r = -r s
    s = excess / (2 + excess)
    square, power, total = s * s, s, 0.0
    for k in range(3, 200, 2):
        power *= square
        total, previous = total + power / k, total
        if total == previous:
            break
    return 2 * total - excess * s


def _stirling_error(z: float) -> float:
    """Computes log Γ(z) - ((z - 1/2) log z - z + log(2π) / 2), for z > 0 (DLMF 5.11.1)."""
    if z < 15:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + 0.5 * math.log(2 * math.pi))
    coefficients = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
    total = 0.0
    for coefficient in reversed(coefficients):
        total = coefficient + total / (z * z)
    return total / z


def _fraction(a: float, b: float, x: float, y: float, surplus: float) -> float:
    """Evaluates the continued fraction of I_x(a, b) by Lentz's method (Numerical Recipes, 3rd edition, section 5.2)."""
    tiny = 1e-300  # instead of 0 in a denominator
    value = c = a * (1 - surplus) / (a + 1) or tiny
    d = 0.0
    # Converges in about √max(a, b) terms; the limit is far above that.
    for n in range(1, 1000 + 20 * math.ceil(math.sqrt(max(a, b)))):
        odd = a + 2 * n - 1
        numerator = (a + n - 1) * (a + b + n - 1) * n * (b - n) * (x / odd) ** 2
        denominator = n + n * (b - n) * x / odd + (a + n) * (1 - surplus + n * (1 + y)) / (odd + 2)
        d = 1 / ((denominator + numerator * d) or tiny)
        c = (denominator + numerator / c) or tiny
        value *= c * d
        if abs(c * d - 1) < 2e-16:
            break
    return value
