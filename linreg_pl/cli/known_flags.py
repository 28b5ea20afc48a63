"""Knows all flags without the parsers, whose imports take seconds: it refuses mistyped ones, and completes others.

`known_flags.json` has the flags, as the parsers of the locked packages have them; `make flags` writes it.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from linreg_pl.cli.commands import COMMANDS, other_command, suggestion, typed_names
from linreg_pl.errors import InputError

FILE = Path(__file__).with_suffix(".json")
PARSED_BY = ("jsonargparse", "lightning")
"""The packages whose versions decide which flags there are."""
NAMING = ("--config", "-c", "--resume", "--ckpt_path", "--data.class_path")
"""Flags that may name a class of the user's, which has settings of its own, or a file that does."""
HELP = ("--help", "-h", "--data.help")


@cache
def known() -> dict[str, Any]:
    """Returns the flags of each command, without dashes, and whether they have an effect; the names of data modules."""
    contents: dict[str, Any] = json.loads(FILE.read_text())
    return contents


def versions() -> dict[str, str]:
    """Returns the versions that decide which flags there are."""
    from importlib.metadata import version  # not at the top: slow to import

    return {name: version(name) for name in PARSED_BY}


def require_known_flags(command: str, args: list[str]) -> None:
    """Refuses a flag that the parser would refuse, seconds earlier; leaves to it what depends on classes and files.

    Raises:
        InputError: there is such a flag.
    """
    if any(arg.partition("=")[0] in HELP for arg in args):
        return
    flags, of_any_command = known()["flags"][command], set[str]().union(*known()["flags"].values())
    for arg in args:
        name = arg.partition("=")[0].rstrip("+").removeprefix("--")
        is_value = not arg.startswith("--") or " " in arg
        is_known = name in of_any_command or is_value or not name
        if is_known or may_be_of_a_class(name, command, args) or known()["versions"] != versions():
            continue
        effective = [flag for flag, has_effect in flags.items() if has_effect]
        likely = other_command(name, command) or suggestion(name, typed_names(effective, command), f"linreg {command}")
        raise InputError(f"there is no setting --{name}{likely}")


def may_be_of_a_class(name: str, command: str, args: list[str]) -> bool:
    """Tells whether a flag may be a setting of a class that another flag, a file or the environment names."""
    part, _, setting = name.partition(".")
    if part != "data":
        return any(name.startswith(f"{flag}.") for flag in known()["flags"][command] if "." in flag)
    named = [value for flag, value in zip(args, [*args[1:], ""], strict=True) if flag == "--data"]
    named += [arg.removeprefix("--data=") for arg in args if arg.startswith("--data=")]
    is_ours = set(named) <= set(known()["data"]) and not any(arg.startswith(NAMING) for arg in args)
    is_set_elsewhere = any(variable.startswith(f"LINREG_{command.upper()}_") for variable in os.environ)
    return not is_ours or is_set_elsewhere or setting.partition(".")[0] in ("class_path", "init_args", "dict_kwargs")


def print_completions() -> None:
    """Prints what may stand for the word that is being typed in a shell, which calls this for `complete -C`.

    bash passes arguments, too, but zsh says all in the variables alone.
    """
    typed = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    _, *arguments = typed.split()
    word = "" if typed[-1:].isspace() or not arguments else arguments.pop()
    if not arguments:
        candidates = [*COMMANDS, "--help", "--version"]
    elif arguments[-1] == "--data":
        candidates = known()["data"]
    else:
        flags = known()["flags"].get(arguments[0], {})
        candidates = [f"--{flag}" for flag, has_effect in flags.items() if has_effect] if word[:1] == "-" else []
    print(*(candidate for candidate in candidates if candidate.startswith(word)), sep="\n")
