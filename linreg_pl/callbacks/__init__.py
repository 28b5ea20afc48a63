"""Callbacks that watch a run: curves, printed lines, checkpoints, the report."""
