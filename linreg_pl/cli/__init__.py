"""The command `linreg`."""
