"""Freezing schedules and the activation cache."""
