"""The multi-label head on frozen features, its loss and its metrics."""
