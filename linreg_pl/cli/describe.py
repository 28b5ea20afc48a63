"""Prints what each column of a table is taken for: `linreg describe`."""

from linreg_pl.cli.job import Job
from linreg_pl.errors import InputError, printable


def describe(job: Job) -> None:
    """Prints a line for each column, and what the user should know of how the table is read.

    Raises:
        InputError: the data is no table.
    """
    from linreg_pl.data.table.table_rows import TableRows  # slow to import

    if not isinstance(job.rows, TableRows):
        raise InputError("describe is for tables: give --data TableDataModule and --data.path")
    lines = [("column", "taken for", "missing", "values")]
    for name, kind, missing, values in job.rows.describe():
        kind = f"{kind} (target)" if name in job.rows.target_names else kind
        lines.append((printable(name), kind, "" if missing is None else str(missing), values))
    widths = [max(len(line[index]) for line in lines) for index in range(3)]
    for line in lines:
        print(f"{line[0]:{widths[0]}}  {line[1]:{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]}".rstrip())
    print(*(f"NOTE  {remark}" for remark in job.rows.remarks), sep="\n", end="\n" if job.rows.remarks else "")
