"""Predictions of a published model for posters; with `classifier.tflite` neither TensorFlow nor Prefect is imported."""
