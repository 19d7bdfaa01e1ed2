"""Why a model answers as it does: words, patches and rows that decide, and how far to trust that."""
