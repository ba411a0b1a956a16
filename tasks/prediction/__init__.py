"""Predictions of a published model for posters.

`Predictor.predict` imports neither TensorFlow nor Prefect where the model has `classifier.tflite`.
"""
