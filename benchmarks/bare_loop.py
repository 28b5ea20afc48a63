"""Runs the tutorial's job in PyTorch alone: autograd and an update by hand, no Lightning, no curves, no files."""

import time

import torch

from benchmarks import job


def main() -> None:
    epochs = job.epochs_from_flags()
    x = torch.from_numpy(job.X.astype("float32"))  # (NUM_ROWS, 1)
    W = torch.nn.init.trunc_normal_(torch.empty(1, 1), a=-2, b=2).mul_(job.INIT_STD).requires_grad_()
    b = torch.nn.init.trunc_normal_(torch.empty(1), a=-2, b=2).mul_(job.INIT_STD).requires_grad_()
    start = time.monotonic()
    for epoch in range(epochs):
        y = torch.from_numpy(job.draw_y())
        for first in range(0, job.NUM_ROWS, job.BATCH_SIZE):
            rows = slice(first, first + job.BATCH_SIZE)
            cost = (x[rows] @ W + b - y[rows]).square().mean() + job.L2 * W.square().sum()
            grad_W, grad_b = torch.autograd.grad(cost, (W, b))
            with torch.no_grad():
                W -= job.LEARNING_RATE * grad_W
                b -= job.LEARNING_RATE * grad_b
        if epoch % job.DISPLAY_EVERY_N_EPOCHS == 0:
            job.print_line(epoch, cost.item(), W.item(), b.item())
    job.print_result(W.item(), time.monotonic() - start)


if __name__ == "__main__":
    main()
