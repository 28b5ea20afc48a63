"""Measures how long each program takes until J - J* is within a share of the variance explained.

    J(W, b) = mean((X W + b - y)²)        X: raw columns of units from 1e-3 to 1e3, up to ten deviations away from 0

    exact pass         linreg_pl's: the triangle of the rows, and the solution from it
    linreg_pl, SGD     its defaults for a table, the pass that standardizes and plans included; of the lengths of which
                       all longer ones end within the gap, the shortest counts
    bare PyTorch loop  standardization, then SGD with autograd, momentum and a cosine, rows in order; likewise
    SGDRegressor       scikit-learn's, after StandardScaler; looked at every twentieth of an epoch
    Ridge              scikit-learn's Ridge(alpha=0, solver="cholesky")
    LinearRegression   scikit-learn's, by an SVD, after StandardScaler: raw columns' small ones it drops
    lstsq              NumPy's, in float64, as it has no other

All begin with the rows in memory as a matrix of float32, and end with W and b. The gap is looked at while no clock
runs, in float64, by a formula that is none of theirs. Vowpal Wabbit has no matrix to begin with: `benchmarks.vowpal`.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from sklearn.linear_model import LinearRegression as LeastSquares
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks.page import Page, flags_of, ratios, report_progress, show, silent_trainer, spread
from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.training.executions import Executions

NUM_FEATURES = 32
GAPS = (1e-2, 1e-4, 1e-6)
BATCH_SIZE = 4096
LEARNING_RATE, MOMENTUM = 0.01, 0.9
"""Of the bare loop: of 0.01, 0.03 and 0.1 the first at 1e-6, and none is before it at 1e-4."""

LENGTHS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Epochs of a run that has to be planned before it starts."""

PARTS = 20
"""Of an epoch, after each of which SGDRegressor is looked at, for as many epochs as the longest of these lengths."""

EXACT, SGD, BARE, REGRESSOR = "linreg_pl, exact pass", "linreg_pl, SGD", "bare PyTorch loop", "SGDRegressor"
RIDGE, LEAST_SQUARES, LSTSQ = "Ridge", "LinearRegression", "lstsq"
PROGRAMS = (EXACT, SGD, BARE, REGRESSOR, RIDGE, LEAST_SQUARES, LSTSQ)

FLAGS = flags_of("gap", rows=5_000_000, least=2_000, rounds=3)

Coefficients = tuple[np.ndarray, float]  # W (D,) and b
Times = dict[str, dict[float, list[float]]]  # by program and gap, seconds round by round; none where it is not reached


@dataclass(frozen=True)
class Rows:
    """A table in memory, as a matrix and as columns."""

    x: np.ndarray  # (N, D), float32
    y: np.ndarray  # (N,), float32
    columns: pa.Table

    @classmethod
    def drawn(cls, number: int) -> "Rows":
        """Draws columns that share a fifth of their variance; they explain nine tenths of the variance of y."""
        random = np.random.default_rng(0)
        z = random.standard_normal((number, NUM_FEATURES), dtype=np.float32)
        z += 0.5 * random.standard_normal((number, 1), dtype=np.float32)
        y = z @ np.linspace(-1, 1, NUM_FEATURES, dtype=np.float32)
        y += random.standard_normal(number, dtype=np.float32)
        z *= (units := np.logspace(-3, 3, NUM_FEATURES, dtype=np.float32))
        z += units * np.linspace(-10, 10, NUM_FEATURES, dtype=np.float32)
        return cls(z, y, pa.table({f"x{index}": column for index, column in enumerate(z.T)} | {"y": y}))

    def read(self) -> TableDataModule:
        """Returns a data module that has read the rows, but has not passed over them yet."""
        data = TableDataModule(self.columns, "y")
        data.setup("fit")
        assert data.fingerprint, "the checksum is made in a thread, which would go on beside what is timed"
        return data


class Gap:
    """J - J* as a share of the variance explained, from the covariances of standardized columns in float64.

        J - J* = (v - v*)' C (v - v*) + (mean(X W + b - y))²        v = W times the columns' deviations

    Args:
        x: (N, D).
        y: (N,).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        chunks = [slice(start, start + 65_536) for start in range(0, len(x), 65_536)]
        self._means = sum(x[rows].sum(axis=0, dtype=np.float64) for rows in chunks) / len(x)
        self._mean_y = y.mean(dtype=np.float64)
        squares = sum(np.square(x[rows] - self._means).sum(axis=0) for rows in chunks) / len(x)
        self._units = np.sqrt(squares)
        C, c = np.zeros((x.shape[1], x.shape[1])), np.zeros(x.shape[1])
        for rows in chunks:
            z = (x[rows] - self._means) / self._units
            C += z.T @ z / len(x)
            c += z.T @ (y[rows] - self._mean_y) / len(x)
        self._C, self._best = C, np.linalg.solve(C, c)
        self.variance_explained = float(self._best @ c)

    def __call__(self, coefficients: Coefficients) -> float:
        """Returns the gap of W (D,) and b."""
        W, b = (np.asarray(part, dtype=np.float64) for part in coefficients)
        away = W * self._units - self._best
        off = W @ self._means + b - self._mean_y
        return float(away @ self._C @ away + off**2) / self.variance_explained


# ---- the programs: each gives coefficients when it has some, and goes on for better ones ----


def exact_pass(rows: Rows) -> Iterator[Coefficients]:
    return exact_answer(rows.read())


def exact_answer(data: TableDataModule) -> Iterator[Coefficients]:
    solution = optimum(data.triangle, penalty_rows(NUM_FEATURES, 0.0))
    yield solution.W[:, 0].numpy(), float(solution.b)


def sgd(rows: Rows, epochs: float) -> Iterator[Coefficients]:
    return descent(rows.read(), epochs)


def descent(data: TableDataModule, epochs: float) -> Iterator[Coefficients]:
    model = LinearRegression(NUM_FEATURES)
    data.group_steps(Executions())
    steps = max(1, round(epochs * data.steps_per_epoch))
    trainer = silent_trainer(max_epochs=-1, max_steps=steps)
    trainer.fit(model, data)
    W, b = model.coefficients()
    yield W.detach()[:, 0].numpy(), float(b)


def bare(rows: Rows, epochs: float) -> Iterator[Coefficients]:
    x, y, size = torch.from_numpy(rows.x), torch.from_numpy(rows.y), min(BATCH_SIZE, len(rows.x))
    scale, mean = torch.std_mean(x, dim=0)
    z = (x - mean) / scale
    W, b = torch.zeros(NUM_FEATURES, requires_grad=True), y.mean().requires_grad_()
    optimizer = torch.optim.SGD([W, b], lr=LEARNING_RATE, momentum=MOMENTUM)
    steps = max(1, round(epochs * (len(x) // size)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        first = step % (len(x) // size) * size
        loss = (z[first : first + size] @ W + b - y[first : first + size]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    W_of_x = (W / scale).detach().numpy()
    yield W_of_x, float(b) - float(W_of_x @ mean.numpy())


def sgd_regressor(rows: Rows) -> Iterator[Coefficients]:
    # The best of eight settings, tried on 400 000 rows: `invscaling` with powers of 0.25 and 0.5 and eta0 from 1e-3 to
    # 3e-2, and `constant` from 1e-3 to 1e-2 with averaging. No other was before this one at any of the three gaps.
    scaler = StandardScaler()
    z = scaler.fit_transform(rows.x)
    model = SGDRegressor(penalty=None, learning_rate="constant", eta0=1e-3, average=True, random_state=0)
    for part in np.array_split(np.arange(len(z)), PARTS) * round(LENGTHS[-1]):
        some = slice(part[0], part[-1] + 1)
        model.partial_fit(z[some], rows.y[some])
        W = model.coef_ / scaler.scale_
        yield W, float(model.intercept_[0] - W @ scaler.mean_)


def ridge(rows: Rows) -> Iterator[Coefficients]:
    model = Ridge(alpha=0, solver="cholesky").fit(rows.x, rows.y)
    yield model.coef_, float(model.intercept_)


def least_squares(rows: Rows) -> Iterator[Coefficients]:
    scaler = StandardScaler()
    model = LeastSquares().fit(scaler.fit_transform(rows.x), rows.y)
    W = model.coef_ / scaler.scale_
    yield W, float(model.intercept_ - W @ scaler.mean_)


def lstsq(rows: Rows) -> Iterator[Coefficients]:
    with_ones = np.column_stack([rows.x, np.ones(len(rows.x), dtype=np.float32)])
    *W, b = np.linalg.lstsq(with_ones, rows.y)[0]
    yield np.array(W), float(b)


AT_ONCE: dict[str, Callable[[Rows], Iterator[Coefficients]]] = {
    EXACT: exact_pass,
    REGRESSOR: sgd_regressor,
    RIDGE: ridge,
    LEAST_SQUARES: least_squares,
    LSTSQ: lstsq,
}
PLANNED: dict[str, Callable[[Rows, float], Iterator[Coefficients]]] = {SGD: sgd, BARE: bare}


# ---- how they are timed ----


def seconds_to(gaps: tuple[float, ...], program: Iterator[Coefficients], gap: Gap) -> dict[float, float]:
    """Returns the seconds of the program alone until it is within each gap, less the gaps that it never reaches."""
    reached: dict[float, float] = {}
    taken, start = 0.0, time.perf_counter()
    for coefficients in program:
        taken += time.perf_counter() - start
        now = gap(coefficients)
        reached |= {each: taken for each in gaps if now <= each and each not in reached}
        if len(reached) == len(gaps):
            break
        start = time.perf_counter()
    return reached


def lengths_to(program: Callable[[Rows, float], Iterator[Coefficients]], rows: Rows, gap: Gap) -> dict[float, float]:
    """Returns the shortest length for each gap from which on all runs end within it: one alone may by chance."""
    lengths: dict[float, float] = {}
    for epochs in LENGTHS:
        now = gap(next(program(rows, epochs)))
        lengths = {each: lengths.get(each, epochs) for each in GAPS if now <= each}
    return lengths


def measure(rounds: int, rows: Rows) -> Times:
    """Returns the seconds to each gap, round by round."""
    gap = Gap(rows.x, rows.y)
    lengths = {name: lengths_to(program, rows, gap) for name, program in PLANNED.items()}
    times: Times = {name: {each: [] for each in GAPS} for name in PROGRAMS}
    for number in range(rounds):
        for name in PROGRAMS:
            if name in PLANNED:
                for each, epochs in lengths[name].items():
                    times[name][each].append(seconds_to((each,), PLANNED[name](rows, epochs), gap)[each])
            else:
                for each, seconds in seconds_to(GAPS, AT_ONCE[name](rows), gap).items():
                    times[name][each].append(seconds)
            words = ", ".join(f"{each:g} in {took[-1]:.2f} s" for each, took in times[name].items() if took)
            report_progress(f"round {number + 1} of {rounds}: {name}, {words}")
    return times


def table(times: Times) -> list[str]:
    """Returns a line for each program with a column for each gap; `-` marks a gap that it does not reach."""
    lines = [f"{'seconds, median (min-max)':26}" + "".join(f"{f'to {gap:.0e}':>21}" for gap in GAPS)]
    for name, reached in times.items():
        lines.append(f"{name:26}" + "".join(f"{spread(took) if took else '-':>21}" for took in reached.values()))
    return lines


def ratios_of(times: Times) -> list[str]:
    """Returns the ratios that have a target, each taken within a round."""
    at = {name: reached[1e-4] for name, reached in times.items()}
    others = [at[name] for name in (REGRESSOR, RIDGE) if at[name]]
    pairs = {
        "exact pass / faster of SGDRegressor and Ridge, to 1e-04": (
            at[EXACT],
            [min(took) for took in zip(*others, strict=True)],
        ),
        "linreg_pl, SGD / SGDRegressor, to 1e-04": (at[SGD], at[REGRESSOR]),
    }
    return [
        f"{words:56} {spread(ratios(ours, theirs)) if ours and theirs else '-':>18}   target ≤ 1"
        for words, (ours, theirs) in pairs.items()
    ]


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds to each gap, and the two ratios."""
    warnings.simplefilter("ignore")  # scikit-learn's, of raw columns
    rows = Rows.drawn(flags.rows)
    times = measure(flags.rounds, rows)
    notes = {
        "gap": "J - J*, of the variance explained; a program is there when it is below",
        "threads": str(torch.get_num_threads()),
        "rounds": f"{flags.rounds}, each program once a round",
    }
    title = f"Time to the answer: {flags.rows} rows of {NUM_FEATURES} raw features, float32, in memory"
    drawn = {name: {f"{gap:g}": took for gap, took in reached.items()} for name, reached in times.items()}
    lines = [*table(times), "", *ratios_of(times)]
    return Page(title, ("torch", "lightning", "numpy", "scikit-learn"), notes, lines, drawn)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
