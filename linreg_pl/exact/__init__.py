"""The exact solution, and how it is printed."""
