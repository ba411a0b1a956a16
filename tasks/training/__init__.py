"""Head, losses and metrics; and the last block of the backbone, where it is tuned. All else of it is frozen."""
