"""The SavedModel whose graph does everything: image in, genre names and confidences out."""
