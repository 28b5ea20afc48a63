"""One step of stochastic gradient descent under Lightning, and what is known before the first."""
