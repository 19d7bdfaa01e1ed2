"""Tiny models and data for each task: words that make its configs run in a second.

A module has the name of the task's file.
"""
