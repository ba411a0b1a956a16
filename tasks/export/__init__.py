"""The export stage: writes SavedModel, Keras and LiteRT models and the similarity index, and checks predictions."""
