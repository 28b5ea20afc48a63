"""Runs the tutorial's job in its original way: a TensorFlow graph fed through placeholders.

Runs in `.venv-peers`, which has TensorFlow and not this project: it imports nothing of `linreg_pl`.
"""

import time

import tensorflow.compat.v1 as tf  # type: ignore[import-untyped]

from benchmarks import job


def main() -> None:
    epochs = job.epochs_from_flags()
    tf.disable_eager_execution()
    x_batch = tf.placeholder(tf.float32, (job.BATCH_SIZE, 1))
    y_batch = tf.placeholder(tf.float32, (job.BATCH_SIZE, 1))
    W = tf.Variable(tf.truncated_normal((1, 1), stddev=job.INIT_STD))
    b = tf.Variable(tf.truncated_normal((), stddev=job.INIT_STD))
    prediction = tf.matmul(x_batch, W) + b
    cost = tf.reduce_mean(tf.square(prediction - y_batch)) + job.L2 * tf.reduce_sum(tf.square(W))
    descent = tf.train.GradientDescentOptimizer(job.LEARNING_RATE).minimize(cost)
    x = job.X.astype("float32")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        start = time.monotonic()
        for epoch in range(epochs):
            y = job.draw_y()
            for first in range(0, job.NUM_ROWS, job.BATCH_SIZE):
                rows = slice(first, first + job.BATCH_SIZE)
                # The tutorial's step hands back all of these at every step.
                _, _, cost_now, W_now, b_now = session.run(
                    [descent, prediction, cost, W, b], {x_batch: x[rows], y_batch: y[rows]}
                )
            if epoch % job.DISPLAY_EVERY_N_EPOCHS == 0:
                job.print_line(epoch, cost_now, W_now.item(), b_now)
        loop_seconds = time.monotonic() - start
        job.print_result(session.run(W).item(), loop_seconds)


if __name__ == "__main__":
    main()
