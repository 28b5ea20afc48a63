"""The one error that means: the program is fine, what it was given is not."""


class InputError(ValueError):
    """Raised for input that can't be used.

    The message is one short paragraph for the person at the keyboard: what is wrong, where, what was found,
    what to do. The command line prints it and exits with code 2.
    """
