"""Answers over HTTP: bodies in, batches, answers out."""
