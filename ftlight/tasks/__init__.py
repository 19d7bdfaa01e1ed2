"""One file, one task with its data module."""
