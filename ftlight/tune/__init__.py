"""Settings tried one after another: what may vary, who tries what, and which runs are cut short."""
