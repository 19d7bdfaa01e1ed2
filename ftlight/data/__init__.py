"""Data: files, batches, tokens."""
