"""Cheap models of rows, which a fine-tuned one should beat: functions of data, without a run."""
