"""Metrics as pure functions: what torchmetrics lacks, or states otherwise."""
