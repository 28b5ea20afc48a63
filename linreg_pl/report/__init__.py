"""A finished run, described for others: an HTML page, and a table of several runs."""
