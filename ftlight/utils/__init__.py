"""What needs nothing else of ftlight: errors, files, text."""
