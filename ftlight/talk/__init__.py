"""Talks with a run in a terminal."""
