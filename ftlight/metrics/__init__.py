"""Metrics as pure functions: those that torchmetrics lacks or defines differently."""
