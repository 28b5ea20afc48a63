"""Exports of a model for other programs, which need nothing of this package."""
