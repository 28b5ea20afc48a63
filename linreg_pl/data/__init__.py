"""Data modules: the rows, and the batches that training draws from them."""
