"""The training stage: fits heads on features, calibrates them, and folds the thresholds into their weights."""
