"""How large an image file may be."""

from scatcache.errors import UnreadableImage

# No image file that decodes needs more: it is what the pixels allowed take at a byte a colour.
MAX_IMAGE_BYTES = 2**29


class TooLarge(UnreadableImage):
    """A file of more than MAX_IMAGE_BYTES, which is not read."""


def check_image_bytes(n_bytes: int) -> None:
    """Raises TooLarge for a file too large to be an image: a sparse one of terabytes costs nothing to make."""
    if n_bytes > MAX_IMAGE_BYTES:
        raise TooLarge(f"a file of {n_bytes} bytes, more than the {MAX_IMAGE_BYTES} allowed")
