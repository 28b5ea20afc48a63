"""Settings of every test."""

from hypothesis import settings

# A shared machine can stall any example; the time that one takes says nothing about the program.
settings.register_profile("linreg", deadline=None, derandomize=True)
settings.load_profile("linreg")
