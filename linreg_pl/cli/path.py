"""Cross-validates l2 or l1 on a table: `linreg path`."""

import json
import sys
from pathlib import Path

from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.job import Job
from linreg_pl.exact.path import axis_of, cross_validated_path


def path(job: Job) -> None:
    """Prints the error of each l2, or l1, on rows held out, and the choice.

    Raises:
        InputError: the rows can't be divided into these folds, or nothing can be written.
    """
    settings, data = job.settings, job.data
    axis_of(settings.l2, settings.l1)  # before the rows are read
    data.setup("path")
    result = cross_validated_path(data, job.model.settings, settings.folds, settings.l2, settings.l1)
    if data.remarks:
        print(*(f"NOTE     {remark}" for remark in data.remarks), sep="\n", file=sys.stderr)
    print(json.dumps(result.to_dict(), indent=2) if settings.json else "\n".join(result.lines()))
    if settings.output is not None:
        from linreg_pl.plots.path_pictures import write_path  # imports matplotlib

        folder = Path(settings.output)
        with writing(folder, "--output"):
            files = write_path(result, folder)
        print(f"{', '.join(str(file) for file in files)}, and curves for TensorBoard", file=sys.stderr)
