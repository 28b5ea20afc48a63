"""Measures one pass of Vowpal Wabbit over a file of its own format: from text, and from its cache.

Runs in `.venv-peers`, which has Vowpal Wabbit and not this project: it imports nothing of `linreg_pl`.
"""

import json
import sys
import time

import vowpalwabbit  # type: ignore[import-not-found]


def seconds(arguments: str) -> tuple[float, float]:
    """Returns the seconds of a pass over all rows, and the weight of the first feature after it."""
    start = time.perf_counter()
    workspace = vowpalwabbit.Workspace(f"--quiet {arguments}")
    taken = time.perf_counter() - start
    weight = workspace.get_weight_from_name("x0")
    workspace.finish()
    return taken, weight


def main() -> None:
    path = sys.argv[1]
    text, _ = seconds(f"--data {path}")
    seconds(f"--data {path} --cache_file {path}.cache --kill_cache")
    cache, weight = seconds(f"--data {path} --cache_file {path}.cache")
    print(json.dumps({"text": text, "cache": cache, "weight": weight}))


if __name__ == "__main__":
    main()
