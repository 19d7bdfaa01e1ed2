"""Helpers that need nothing else of ftlight: errors, files, text, processes."""
