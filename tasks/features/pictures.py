"""Posters as pictures for a person, by the model's own decoder: they look as the model sees them."""

from PIL import Image

from tasks.features.numpy_preprocessing import decode_image

_FULL_SIZE = (1 << 20, 1 << 20)  # at which no JPEG file is decoded at a fraction of its own


def open_picture(content: bytes) -> Image.Image:
    """Returns a JPEG or PNG file as RGB, in its full size; raises as `decode_image`."""
    return Image.fromarray(decode_image(content, _FULL_SIZE))


def make_thumbnail(
    content: bytes, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Returns a JPEG or PNG file as RGB that fits into a size; raises as `decode_image`.

    Args:
        content: JPEG file, which is decoded at a fraction of its size where that is enough, or PNG file.
        size: Maximum width and height, in pixels; a smaller picture stays as it is.
        resampling: How it is made smaller.
    """
    width, height = size
    picture = Image.fromarray(decode_image(content, (height, width)))
    picture.thumbnail(size, resampling)
    return picture
