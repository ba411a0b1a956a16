"""Head, losses and metrics. The backbone is frozen."""
