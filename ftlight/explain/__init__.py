"""Why a model answers as it does: words, patches and rows that decide, each with its check."""
