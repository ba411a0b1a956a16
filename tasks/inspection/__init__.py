"""Look at the data and at a model: figures for a terminal, and pictures."""
