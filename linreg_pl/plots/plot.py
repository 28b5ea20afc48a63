"""Draws a run into its folder and onto TensorBoard's Images tab, for `linreg plot`.

The images go into an event file of their own, which holds nothing else, so no curve is touched and none is purged.
Its name sorts behind the run's other event files. Drawing again overwrites it until the run has trained on: each image
is there once, and no file vanishes under a TensorBoard that reads it, which would then skip the files behind it.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from linreg_pl.plots.figures import pictures
from linreg_pl.plots.run_data import record
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.lock import lock
from linreg_pl.runs.tensorboard_logger import EVENTS


def plot(run: Path) -> list[Path]:
    """Draws everything that can be drawn of a run; returns the files.

    Raises:
        InputError: the folder is no run, the run is running or has no good checkpoint, or its data has changed.
        OSError: nothing can be written there.
    """
    drawn = record(run)
    images = {name: png(figure) for name, figure in pictures(drawn).items()}
    files = [run / "plots" / f"{name}.png" for name in images]
    with lock(run):
        for path, image in zip(files, images.values(), strict=True):
            write_durably(path, image)
        show(run, images, drawn.step)
    return files


def png(figure: Figure) -> bytes:
    """Encodes a figure; equal figures give equal bytes.

    `figure.savefig` would draw twice, once to lay out the figure.
    """
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


def show(run: Path, images: dict[str, bytes], step: int) -> None:
    """Writes PNG images to TensorBoard's event file, in place of those of the same step.

    `SummaryWriter.add_figure` would draw each figure again, with another layout than in the file: matplotlib's
    constrained layout moves at every drawing.
    """
    suffix = ".plots"  # marks the images' event file
    newest = max((path.name for path in run.glob(f"{EVENTS}.*")), default="")
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder, filename_suffix=suffix) as writer:
            for name, image in images.items():
                pixels = np.rint(255 * imread(io.BytesIO(image), format="png")[..., :3]).astype(np.uint8)
                writer.add_image(f"plots/{name}", pixels, step, dataformats="HWC")
        [file] = Path(folder).iterdir()
        (run / (newest if newest.endswith(suffix) else file.name)).write_bytes(file.read_bytes())
