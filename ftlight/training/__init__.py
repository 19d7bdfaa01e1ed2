"""A training step and what surrounds it."""
