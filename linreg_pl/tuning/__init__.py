"""Chooses settings of a run: predicts where each would end, and tries the best."""
