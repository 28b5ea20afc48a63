"""Writes the flags of all commands, as their parsers have them, into linreg_pl/cli/known_flags.json: `make flags`."""

import json

from linreg_pl.cli.command import parser_of
from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.data_classes import ROWS
from linreg_pl.cli.known_flags import FILE, versions
from linreg_pl.cli.parser import flags_of


def contents() -> str:
    """Returns what the file should contain."""
    commands = [name for name, command in COMMANDS.items() if command.has_settings]
    flags = {name: flags_of(parser_of(name, has_trainer=True)) for name in commands}
    return json.dumps({"versions": versions(), "data": list(ROWS), "flags": flags}, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(contents())
