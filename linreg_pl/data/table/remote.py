"""Downloads tables that a URL names: http, https, s3, gs, and what else fsspec knows."""

import atexit
import glob
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path, PurePosixPath

from linreg_pl.errors import InputError


def is_remote(path: str) -> bool:
    """Says whether the path is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


@cache
def downloaded(url: str) -> list[Path]:
    """Returns copies of the files that a URL names, in a folder that is removed when the program ends.

    Args:
        url: One file, or a pattern such as s3://bucket/data/*.parquet.

    Raises:
        InputError: a file can't be read, or the URL needs a package that is not installed.
    """
    import fsspec  # not at the top: few tables need it

    try:
        files, path = fsspec.core.url_to_fs(url)
        # In http a question mark begins the query.
        is_pattern = glob.has_magic(path) and not url.startswith("http")
        names = sorted(files.glob(path)) if is_pattern else [path]
        if not names:
            raise FileNotFoundError("no file matches")
        copies = []
        for name in names:
            copies.append(_folder() / (PurePosixPath(name.partition("?")[0]).name or "table"))
            with files.open(name, "rb") as source, copies[-1].open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
    except ImportError as error:
        raise InputError(f"{url}: {error}; install that package, or download the file") from error
    except Exception as error:  # each file system raises its own
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{url}: this can't be read ({reason}); check the address, or download the file") from error
    return copies


def _folder() -> Path:
    """Returns a new folder, which keeps files of equal names apart."""
    folder = tempfile.mkdtemp(prefix="linreg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
