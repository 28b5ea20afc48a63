"""Lightning: the module, its callbacks, the run's folder."""
