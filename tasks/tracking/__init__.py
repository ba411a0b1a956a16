"""The tracking stage: a published model in the logs of experiment trackers."""
