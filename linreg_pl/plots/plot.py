"""`linreg plot`: where do a run's pictures go? Into its folder, and onto TensorBoard's Images tab.

TensorBoard's readers take the pictures from an event file of their own, which holds nothing else: no curve is touched,
none is purged. It comes behind the run's others, and is written over until the run has trained on: so each picture is
there once, and no file vanishes under a reader, which would never come to those behind it.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from linreg_pl.plots.figures import pictures
from linreg_pl.plots.run_data import record
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.lock import lock
from linreg_pl.runs.tensorboard_logger import EVENTS

FOLDER = "plots"

SUFFIX = ".plots"
"""How the name of the pictures' event file ends."""


def plot(run: Path) -> list[Path]:
    """Draws what can be drawn of a run; returns the files.

    Raises:
        InputError: the folder is no run, the run is running or has no good checkpoint, or its data is not what it was.
        OSError: nothing can be written there.
    """
    found = record(run)
    drawn = {name: png(figure) for name, figure in pictures(found).items()}
    with lock(run):
        for name, picture in drawn.items():
            write_durably(run / FOLDER / f"{name}.png", picture)
        show(run, drawn, found.step)
    return [run / FOLDER / f"{name}.png" for name in drawn]


def png(figure: Figure) -> bytes:
    """A picture's file; equal pictures are equal files."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def show(run: Path, drawn: dict[str, bytes], step: int) -> None:
    """Puts pictures on TensorBoard, in the place of those of the same step."""
    newest = max((path.name for path in run.glob(f"{EVENTS}.*")), default="")
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder, filename_suffix=SUFFIX) as writer:
            for name, picture in drawn.items():
                pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
                writer.add_image(f"{FOLDER}/{name}", pixels, step, dataformats="HWC")
        [file] = Path(folder).iterdir()
        (run / (newest if newest.endswith(SUFFIX) else file.name)).write_bytes(file.read_bytes())
