"""Evidence of whether data are sound and training was worth it."""
