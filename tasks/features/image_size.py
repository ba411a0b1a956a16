"""The size of the backbone's input, for the code with TensorFlow and for that without."""

IMAGE_SIZE = 224  # pixels, both sides: what the backbone was trained on
NUM_CHANNELS = 3
