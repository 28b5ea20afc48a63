"""The errors that are no mistake of the program's."""


class InputError(ValueError):
    """Raised for input that can't be used.

    The message is one short paragraph for the person at the keyboard: what is wrong, where, what was found, what to
    do. The command line prints it and exits with code 2.
    """


class Diverged(ArithmeticError):  # noqa: N818 (the field's word)
    """Raised when a step's numbers leave their range, before they reach the weights; the command line exits with 3."""
