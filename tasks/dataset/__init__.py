"""The dataset stage: chooses the genres, splits the films without leaks, and writes TFRecord shards."""
