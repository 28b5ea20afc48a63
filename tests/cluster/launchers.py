"""Real launchers start several processes: torchrun, and Lightning's own."""

import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.commands import linreg, outside_make
from tests.ranks import LINREG, answer, of_srun

SOLVE = ("solve", "--data", "TableDataModule", "--data.path", "t.parquet", "--data.target", "y")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a table in row groups."""
    generator = np.random.default_rng(5)
    x = generator.standard_normal((3000, 3)) + 100
    columns = {f"x{index}": column for index, column in enumerate(x.T)}
    table = pa.table({**columns, "y": x @ [1.0, -2.0, 3.0] + generator.standard_normal(3000)})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=400)
    return tmp_path


@pytest.mark.parametrize(
    ("launcher", "flags"),
    [(("torchrun", "--nproc-per-node", "2"), ()), ((), ("--trainer.devices", "2"))],
    ids=["torchrun", "Lightning"],
)
def test_same_output_as_one_process(launcher: tuple[str, ...], flags: tuple[str, ...], folder: Path) -> None:
    command = [str(LINREG.with_name(each)) if each == "torchrun" else each for each in launcher]
    result = subprocess.run(
        [*command, LINREG, *SOLVE, *flags], cwd=folder, env=outside_make(), capture_output=True, text=True
    )
    alone = linreg(*SOLVE, cwd=folder)
    assert (result.returncode, result.stdout) == (0, alone.stdout), result.stderr


def test_same_bits_again(folder: Path) -> None:
    """Also by the variables of srun; five processes merge by pairs with one left over."""
    flags = (*SOLVE, "--data.memory_limit", "0", "--robust", "HC1")
    assert answer(5, *flags, cwd=folder) == answer(5, *flags, cwd=folder, launcher=of_srun)
