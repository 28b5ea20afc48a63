"""Tables: CSV, Parquet and Arrow files, DataFrames and arrays, as batches of numbers."""
