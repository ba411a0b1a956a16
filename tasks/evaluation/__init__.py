"""How good the head is: figures on the test split, beside those of the baselines, and a report."""
