"""Pre-trained models: loading, layers, adapters, kernels, saving."""
