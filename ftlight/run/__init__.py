"""The run folder and what is shown of it."""
