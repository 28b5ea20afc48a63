"""Measures speed as ratios to named other programs, taken in one run."""
