"""Mathematics on tensors: no Lightning, no files."""
