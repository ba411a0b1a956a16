"""The sizes of the backbone's input and of its output, for the code with TensorFlow and for that without."""

ImageSize = tuple[int, int]  # height and width in pixels

IMAGE_SIZE: ImageSize = (224, 224)  # what the backbone was trained on
NUM_CHANNELS = 3

NUM_FEATURES = 1280  # of the last layer; more with a depth multiplier over 1

# Larger images are averaged over blocks of whole pixels before they are resized, which takes 12 bytes a pixel and more:
# 75 MB at this limit. Almost all are PNG files, as JPEG files of this size are decoded at an eighth.
MAX_PIXELS_AT_ONCE = 2048 * 3072
REDUCED_TIMES = 4  # sides stay at least as many times as long, so that the resize still averages four pixels or more
