"""`python -m linreg_pl …` is `linreg …`."""

import sys

from linreg_pl.cli import main

sys.exit(main())
