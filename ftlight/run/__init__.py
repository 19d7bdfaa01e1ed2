"""The run folder, its loggers, and the screen."""
