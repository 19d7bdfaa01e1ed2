"""One page that shows a run to others."""
