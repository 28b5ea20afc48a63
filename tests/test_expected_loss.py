"""The predicted loss of a run: many simulated runs, of torch.optim.SGD's arithmetic on the rows, end as predicted."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from linreg_pl.core import drawn_batches, fixed_batches
from linreg_pl.core.drawn_batches import DrawnBatches
from linreg_pl.core.expected_loss import Descent, Loss, Outcome, expected_loss
from linreg_pl.core.fixed_batches import FixedBatches
from linreg_pl.core.row_sample import sample_rows
from linreg_pl.core.stability import largest_stable_learning_rate


class Rows:
    """Rows with an intercept, heavy tails, noise that grows with a column, and a penalty; their exact solution."""

    def __init__(self, num_rows: int, num_targets: int = 1, l2: float = 0.05) -> None:
        random = np.random.default_rng(num_rows)
        x = np.column_stack([np.ones(num_rows), random.standard_t(6, size=(num_rows, 2)) * [1.0, 0.4]])
        theta = random.normal(size=(3, num_targets))
        y = x @ theta + random.normal(size=(num_rows, num_targets)) * (1 + 0.3 * x[:, 1:2] ** 2)
        penalty = l2 * np.diag([0.0, 1.0, 1.0])
        self.weights = random.uniform(0.5, 1.5, size=(num_rows, 1))
        self.weights /= self.weights.mean()
        gram = x.T @ (self.weights * x) / (num_rows * num_targets) + penalty
        exact = np.linalg.solve(gram, x.T @ (self.weights * y) / (num_rows * num_targets))
        self.eigenvalues, self.axes = np.linalg.eigh(2 * gram)
        self.x, self.residuals = x @ self.axes, x @ exact - y
        self.penalty = 2 * self.axes.T @ penalty @ self.axes
        self.pull = 2 * self.axes.T @ penalty @ exact
        self.start = -self.axes.T @ exact
        held_out = np.column_stack([np.ones(50), random.normal(size=(50, 2))])
        scale = (50 * num_targets) ** 0.5
        noisy = held_out @ theta + random.normal(size=(50, num_targets))
        self.loss = Loss(held_out @ self.axes / scale, (held_out @ exact - noisy) / scale)

    def batches(self, size: int) -> DrawnBatches:
        """Returns the batches that are drawn from these rows."""
        shares = np.full_like(self.weights, 1 / len(self.x))
        return DrawnBatches(self.eigenvalues, self.x, self.residuals, self.weights, shares, size, len(self.x))

    def runs(self, size: int, descent: Descent, count: int, orders: Callable[[int], np.ndarray]) -> np.ndarray:
        """Returns the losses at the end of `count` runs; `orders` gives their orders of the rows (count, N)."""
        K = self.residuals.shape[1]
        error = np.broadcast_to(self.start, (count, *self.start.shape)).copy()
        velocity, total = np.zeros_like(error), np.zeros_like(error)
        for step in range(descent.steps):
            epoch, index = divmod(step, len(self.x) // size)
            if index == 0:
                order = orders(epoch)
            batch = order[:, index * size : (index + 1) * size]
            x, residuals = self.x[batch], self.x[batch] @ error + self.residuals[batch]
            gradient = 2 / (K * size) * x.swapaxes(1, 2) @ (self.weights[batch] * residuals)
            velocity = descent.momentum * velocity + gradient + self.penalty @ error + self.pull
            error = error - descent.rate(step) * velocity
            total += error * (step >= descent.first_averaged)
        error = total / descent.num_averaged if descent.num_averaged else error
        return np.array([self.loss.at(each) for each in error])


SETTINGS = [
    # share of 2 / λ, momentum, schedule, averaged share, batch size, epochs, targets
    (0.3, 0.0, "constant", 0.0, 6, 30, 1),
    (0.05, 0.8, "constant", 0.0, 6, 3, 2),
    (0.3, 0.0, "cosine", 0.0, 20, 60, 1),
    (0.01, 0.0, "cosine", 0.0, 20, 60, 1),
    (0.2, 0.5, "one_cycle", 0.4, 10, 20, 2),
    (0.02, 0.0, "constant", 0.5, 30, 100, 1),
    (0.3, 0.5, "constant", 0.9, 6, 100, 1),
]


@pytest.mark.parametrize(("share", "momentum", "schedule", "averaged", "size", "epochs", "targets"), SETTINGS)
def test_drawn_batches(
    share: float, momentum: float, schedule: str, averaged: float, size: int, epochs: int, targets: int
) -> None:
    """The mean of 400 runs is the expected loss, and 95% of them are within the bounds."""
    rows, random, count = Rows(123, targets), np.random.default_rng(7), 400
    steps = epochs * (123 // size)
    rate = share * 2 / float(rows.eigenvalues[-1]) * (1 - momentum)
    descent = Descent(rate, steps, momentum, schedule, round(averaged * steps))  # type: ignore[arg-type]
    predicted = expected_loss(drawn_batches.outcome(rows.batches(size), rows.start, descent), rows.loss)
    losses = rows.runs(size, descent, count, lambda _: random.random((count, 123)).argsort(axis=1))
    error = losses.std() / count**0.5
    spread = predicted.high - predicted.low
    assert abs(losses.mean() - predicted.mean) < 4 * error + 0.03 * spread
    assert 0.91 <= np.mean([predicted.contains(loss) for loss in losses]) <= 0.985


@pytest.mark.parametrize("size", [70, 100])
def test_one_batch_an_epoch(size: int) -> None:
    """A batch has more than half of the rows, so its curvature varies less than that of rows drawn with replacement."""
    rows, random, count = Rows(123), np.random.default_rng(3), 2000
    rows.loss = Loss(np.diag(np.sqrt(rows.eigenvalues / 2)), np.zeros((3, 1)))  # J less that of the exact solution
    descent = Descent(0.85 * 2 / float(rows.eigenvalues[-1]), 40)
    expected = rows.loss.expected(drawn_batches.outcome(rows.batches(size), rows.start, descent))
    losses = rows.runs(size, descent, count, lambda _: random.random((count, 123)).argsort(axis=1))
    assert abs(losses.mean() / expected - 1) < 0.08


@pytest.mark.parametrize("num_rows", [900, 20_000])
def test_sample_of_rows(num_rows: int) -> None:
    """A sample gives what all rows give: ten rows of 20 000 cause most of the curvature's noise."""
    random = np.random.default_rng(5)
    q = random.normal(size=(num_rows, 3))
    q[:: num_rows // 10] *= 30
    residuals = random.normal(size=(num_rows, 1)) * (1 + q[:, :1] ** 2)
    weights = random.uniform(0.5, 1.5, size=(num_rows, 1))
    weights /= weights.mean()
    rows = [torch.from_numpy(each) for each in (q, residuals, weights)]
    *sample, shares = sample_rows(zip(*(each.split(3000) for each in rows), strict=True))
    assert 700 < len(shares) <= 1024
    eigenvalues, axes = np.linalg.eigh(2 * q.T @ (weights * q) / num_rows)
    descent, start = Descent(0.1 / eigenvalues[-1], 200), np.ones((3, 1))

    def outcome(q: np.ndarray, residuals: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> Outcome:
        batches = DrawnBatches(eigenvalues, q @ axes, residuals, weights, shares, num_rows // 20, num_rows)
        return drawn_batches.outcome(batches, start, descent)

    expected = outcome(q, residuals, weights, np.full_like(weights, 1 / num_rows))
    sampled = outcome(*(each.numpy() for each in (*sample, shares)))
    np.testing.assert_allclose(sampled.mean, expected.mean, rtol=0.02)
    np.testing.assert_allclose(
        sampled.covariance, expected.covariance, rtol=0.05, atol=1e-3 * expected.covariance.max()
    )


@pytest.mark.parametrize("num_weighted", [0, 50, 5000])
def test_sample_of_rows_without_a_gradient(num_weighted: int) -> None:
    """In a perfect fit no row has a residual, and few may have a weight; each sampled row still has a share."""
    q, weights = (
        torch.randn(5000, 3, generator=torch.Generator().manual_seed(1)).double(),
        torch.zeros(5000, 1).double(),
    )
    weights[:num_weighted] = 1
    *sample, shares = sample_rows([(q, torch.zeros(5000, 1).double(), weights)])
    assert bool((shares > 0).all())
    assert float(shares.sum()) == pytest.approx(1)
    assert int(sample[2].sum()) >= min(num_weighted, 300)


def test_all_rows_in_a_batch() -> None:
    """Nothing is random: the run ends exactly as predicted."""
    rows, descent = Rows(40, 2), Descent(0.1, 300, 0.5, "cosine", 60)
    predicted = expected_loss(drawn_batches.outcome(rows.batches(40), rows.start, descent), rows.loss, rounding=0)
    [loss] = rows.runs(40, descent, 1, lambda _: np.arange(40)[None])
    np.testing.assert_allclose([predicted.mean, predicted.low, predicted.high], loss, rtol=1e-11)


@pytest.mark.parametrize("length", [130, 3000])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_fixed_batches(schedule: str, momentum: float, length: int) -> None:
    """Batches that every epoch repeats leave nothing random, even if an epoch is cut off at the end."""
    rows, size = Rows(45, 2), 10
    descent = Descent(0.03, length, momentum, schedule, 50)  # type: ignore[arg-type]
    parts = [slice(first, first + size) for first in range(0, 40, size)]
    factor = 2 / (2 * size)
    weighted = [rows.weights[part] * rows.x[part] for part in parts]
    hessians = [factor * q.T @ rows.x[part] + rows.penalty for q, part in zip(weighted, parts, strict=True)]
    gradients = [factor * q.T @ rows.residuals[part] + rows.pull for q, part in zip(weighted, parts, strict=True)]
    batches = FixedBatches(np.stack(hessians), np.stack(gradients), np.zeros((4, 3, 3)))
    predicted = expected_loss(fixed_batches.outcome(batches, rows.start, descent), rows.loss, rounding=0)
    [loss] = rows.runs(size, descent, 1, lambda _: np.arange(45)[None])
    rtol = 1e-10 if schedule == "constant" or length < 1600 else 1e-6  # groups of epochs have one rate
    np.testing.assert_allclose([predicted.mean, predicted.low, predicted.high], loss, rtol=rtol)


@pytest.mark.parametrize("averaged", [0, 40])
def test_new_noise(averaged: int) -> None:
    """Targets with new noise at every epoch, on fixed batches."""
    random, count = np.random.default_rng(3), 400
    x, sigma, size = random.normal(size=(3, 8, 2)), 0.7, 8
    descent = Descent(0.2, 60, 0.5, "cosine", averaged)
    hessians = 2 / size * x.swapaxes(1, 2) @ x
    batches = FixedBatches(hessians, np.zeros((3, 2, 1)), sigma**2 * 2 / size * hessians)
    start, loss = np.array([[1.0], [-2.0]]), Loss(np.eye(2), np.array([[0.1], [0.2]]))
    predicted = expected_loss(fixed_batches.outcome(batches, start, descent), loss)
    error, velocity = np.broadcast_to(start, (count, 2, 1)).copy(), np.zeros((count, 2, 1))
    total = np.zeros_like(error)
    for step in range(descent.steps):
        rows = x[step % 3]
        residuals = rows @ error + sigma * random.normal(size=(count, size, 1))
        velocity = descent.momentum * velocity + 2 / size * rows.T @ residuals
        error = error - descent.rate(step) * velocity
        total = total + error * (step >= descent.first_averaged)
    error = total / averaged if averaged else error
    losses = np.array([loss.at(each) for each in error])
    assert abs(losses.mean() - predicted.mean) < 4 * losses.std() / count**0.5
    assert 0.92 <= np.mean([predicted.contains(each) for each in losses]) <= 0.98


@pytest.mark.parametrize("share", [0.9, 0.99, 1.01, 1.1])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_divergence(share: float, momentum: float) -> None:
    """The predicted loss grows without limit above the stability bound, and at no rate below it."""
    rows, size = Rows(60), 60
    hessian = torch.from_numpy(np.diag(rows.eigenvalues)).unsqueeze(0)
    rate = share * largest_stable_learning_rate(hessian, momentum)
    descent = Descent(rate, 20_000, momentum)
    predicted = expected_loss(drawn_batches.outcome(rows.batches(size), rows.start, descent), rows.loss)
    assert (predicted.mean == np.inf) == (share > 1)


@pytest.mark.parametrize("rate", [10.0, 1e200])
def test_divergence_of_fixed_batches(rate: float) -> None:
    """It is told without a warning, also where one direction stays at 0 and another leaves the numbers."""
    batches = FixedBatches(np.diag([1.0, 0.0])[None], np.zeros((1, 2, 1)), np.zeros((1, 2, 2)))
    outcome = fixed_batches.outcome(batches, np.array([[1.0], [0.0]]), Descent(rate, 2000))
    assert np.isposinf(outcome.mean).all()
    assert np.isposinf(outcome.covariance).all()
    assert expected_loss(outcome, Loss(np.eye(2), np.zeros((2, 1)))).mean == np.inf


def test_bounds() -> None:
    """The quantiles of one squared normal number, and of a nearly normal loss."""
    chance = expected_loss(
        Outcome(np.zeros((1, 1)), np.eye(1)), Loss(np.eye(1), np.zeros((1, 1))), 0, num_samples=10**5
    )
    assert [chance.mean, chance.low, chance.high] == [
        1,
        pytest.approx(0.00098, rel=0.1),
        pytest.approx(5.02, rel=0.03),
    ]
    steep = expected_loss(Outcome(np.full((1, 1), 10.0), 1e-4 * np.eye(1)), Loss(np.eye(1), np.zeros((1, 1))), 0)
    assert [steep.low, steep.high] == pytest.approx([100 - 0.392, 100 + 0.392], abs=0.02)
