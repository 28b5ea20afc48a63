"""How is a wrong flag, setting or config file answered? In one paragraph, with the name that was probably meant.

jsonargparse finds the mistake; its message is a tree of all types that did not fit. This module keeps what helps.
"""

import difflib
import inspect
import re
from collections.abc import Iterator
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from linreg_pl.data.batches import BatchDataModule
from linreg_pl.errors import InputError

NOISE = (
    "Does not validate against any of the Union subtypes",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected <class 'NoneType'>",
    "Given value type:",
)


class Parser(LightningArgumentParser):
    """Lightning's parser, raising `InputError` where that one prints the usage of a hundred flags and exits."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message as one paragraph, with a suggestion."""
        parser = getattr(ex, "subcommand_parser", None) or self
        raise InputError(one_paragraph(message) + suggestion(message, list(known_names(parser)))) from ex


def one_paragraph(message: str) -> str:
    """jsonargparse's message without its lists of types that did not fit."""
    message = re.sub(r'Parser key "([^"]*)":', lambda found: f"--{found[1]}:", message)
    lines = [line.strip().removeprefix("- ").rstrip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(NOISE)]
    text = " ".join(kept)
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    text = re.sub(r"Problem with given class_path '[\w.]*?(\w+)':", r"\1:", text)
    text = re.sub(r"Given value: NestedArg\(key='([^']*)', val='([^']*)'\)", r"", text)
    text = re.sub(r"Given value: Namespace\(.*\)$", "", text)
    text = text.replace("Given value:", "found")
    return text.strip().rstrip(".")


def known_names(parser: LightningArgumentParser) -> Iterator[str]:
    """Every flag of a parser without its dashes, those of the data modules included."""
    for action in parser._actions:
        yield from (option.removeprefix("--") for option in action.option_strings if option.startswith("--"))
    for data in BatchDataModule.__subclasses__():
        yield data.__name__
        yield from (f"data.{name}" for name in inspect.signature(data).parameters)


def suggestion(message: str, names: list[str]) -> str:
    """The known name nearest to the first one that the message rejects."""
    rejected = re.search(
        r"unrecognized arguments: (?:--)?([\w.]+)"
        r"|Option '(?P<option>[\w.]+)' is not accepted"
        r"|[Kk]ey '(?P<key>[\w.]+)' is not expected"
        r"|import path string: (?P<name>\w+)",
        message,
    )
    if rejected is None:
        return "; see --help"
    word = next(group for group in rejected.groups() if group)
    if rejected["option"]:
        word = f"data.{word}"
    nearest = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if not nearest:
        return "; see --help"
    return f"; did you mean {nearest[0] if rejected['key'] or rejected['name'] else '--' + nearest[0]}?"
