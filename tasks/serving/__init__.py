"""A published SavedModel over HTTP, on loopback, in the JSON format of TensorFlow Serving."""
