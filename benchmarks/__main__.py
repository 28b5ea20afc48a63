"""Measures all pages one after the other, and writes one dated report with a picture: `make bench`.

python -m benchmarks [--quick] [--output FOLDER]        FOLDER/DATE.md and FOLDER/DATE.png
"""

import argparse
import datetime
import sys
from pathlib import Path

from benchmarks.page import ROOT
from benchmarks.picture import draw
from benchmarks.report import FLAGS_OF, measured, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="small tables, one round: to see that all pages run")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the report")
    flags = parser.parse_args()
    pages, failed = measured(list(FLAGS_OF), flags.quick)
    flags.output.mkdir(parents=True, exist_ok=True)
    path = flags.output / f"{datetime.date.today()}.md"
    draw(pages, path.with_suffix(".png"))
    path.write_text(report(pages, failed, f"{path.stem}.png"))
    print(path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
