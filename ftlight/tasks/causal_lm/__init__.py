"""Causal lm."""
