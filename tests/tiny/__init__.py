"""Tiny models and data for each task: words that make its configs run in a second, named by the task's file."""
