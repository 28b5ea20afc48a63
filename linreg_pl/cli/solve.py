"""Prints the exact solution: `linreg solve`."""

import json

from linreg_pl.cli.job import Job
from linreg_pl.cli.notes import print_notes
from linreg_pl.exact import solution
from linreg_pl.exact.summary import solution_lines


def solve(job: Job) -> None:
    """Prints the exact solution."""
    solution.require_robust(job.rows, job.settings.robust, job.settings.cluster, job.posed.l1)
    job.rows.setup("solve")
    solved = solution.solve(job.rows, job.posed, job.settings.robust, job.settings.cluster)
    if not job.prints:
        return
    print_notes(solved.remarks)
    if job.settings.json:
        print(json.dumps(solved.to_dict(), indent=2))
    else:
        print(*solution_lines(solved), sep="\n")
