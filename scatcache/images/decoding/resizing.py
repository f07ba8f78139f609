"""The central square of a scaled image, as torchvision's Resize and CenterCrop make it."""

import numpy as np

from scatcache.images.decoding.own_pillow import Image

# 64 MiB in Pillow's four bytes a pixel.
_MAX_SCALED_PIXELS = 2**24


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """The central crop of the scaled image, as torchvision's Resize and CenterCrop make it.

    The whole image is scaled and cropped, pixel for pixel as they do: a resize of the crop's region alone rounds its
    box to float32, which turned up to a quarter of a photograph's pixels by one grey level. Only where the scaled image
    would be huge (1 x 65000 pixels would become 256 x 16,640,000) is the region resized alone.
    """
    width, height = image.size
    short = round(256 * size / 224)
    scaled_width = short if width <= height else int(short * width / height)
    scaled_height = short if height <= width else int(short * height / width)
    left = round((scaled_width - size) / 2)
    top = round((scaled_height - size) / 2)
    # The horizontal pass comes first, over all rows.
    if scaled_width * max(height, scaled_height) <= _MAX_SCALED_PIXELS:
        scaled = image.resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
        return scaled.crop((left, top, left + size, top + size))
    x_scale, y_scale = width / scaled_width, height / scaled_height
    right, bottom = min(width, (left + size) * x_scale), min(height, (top + size) * y_scale)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left * x_scale, top * y_scale, right, bottom))


def resize_samples(samples: np.ndarray, size: int) -> np.ndarray:
    """float32 (size, size, bands) of samples (height, width, bands): each band scaled and cropped alone, in float32."""
    out = np.empty((size, size, samples.shape[2]), np.float32)
    for band in range(samples.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(samples[..., band], np.float32))
        out[..., band] = np.asarray(resize_and_crop(plane, size))
    return out
