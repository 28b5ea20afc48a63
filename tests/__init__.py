"""The tests; what is installed is listed once for all of them."""

import importlib.metadata
from functools import cache

# Lightning asks for them for each trainer, and the files of all packages are read each time.
importlib.metadata.entry_points = cache(importlib.metadata.entry_points)  # type: ignore[assignment]
