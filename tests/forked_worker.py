"""Runs in place of Python for a process of parallel tests, which is then forked from the commands' server.

So it need not import the program, which takes longer than all else that it imports. execnet runs
`python -m tests.forked_worker -u -c PROGRAM`, and talks with the program through stdin and stdout.
"""

import os
import sys
from multiprocessing.reduction import DupFd
from types import ModuleType
from typing import Any


def run(program: str, environment: dict[str, str], stdin: Any, stdout: Any) -> None:
    """Runs a program as `python -c` does."""
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate((stdin, stdout)):
        os.dup2(file.detach(), number)
    sys.stdin = os.fdopen(0)  # multiprocessing has closed the former
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(program, vars(main))


if __name__ == "__main__":
    from tests.commands import context  # not in the worker, before it has this environment

    worker = context.Process(target=run, args=(sys.argv[-1], dict(os.environ), DupFd(0), DupFd(1)))
    worker.start()
    worker.join()
