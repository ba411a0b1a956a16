"""The size of the backbone's input, for the code with TensorFlow and for that without."""

IMAGE_SIZE = 224  # pixels, both sides: what the backbone was trained on
NUM_CHANNELS = 3

# Larger images are averaged over blocks of whole pixels before they are resized, which takes 12 bytes a pixel and more:
# 75 MB at this limit. Almost all are PNG files, as JPEG files of this size are decoded at an eighth.
MAX_PIXELS_AT_ONCE = 2048 * 3072
REDUCED_SIDE = 4 * IMAGE_SIZE  # sides stay at least as long, so that the resize still averages four pixels or more
