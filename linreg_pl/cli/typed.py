"""Says how to type the commands of this environment."""

import os
import shutil
import sys
from pathlib import Path


def as_typed(name: str) -> str:
    """Returns how to type a command of this environment in the current folder."""
    program = Path(sys.argv[0])
    script = (program if program.name == "linreg" else Path(sys.executable)).with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).absolute() == script.absolute() else os.path.relpath(script)
