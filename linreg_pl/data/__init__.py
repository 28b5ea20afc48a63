"""Where rows come from, and in which order they become batches."""
