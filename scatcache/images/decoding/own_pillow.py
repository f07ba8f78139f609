"""A copy of Pillow that nobody else configures: what is readable, and as which pixels, then depends on no global of it.

Pillow keeps limits (MAX_IMAGE_PIXELS, MAX_TEXT_CHUNK), leniency (LOAD_TRUNCATED_IMAGES), strategies (GIF's
LOADING_STRATEGY, READ_LIBTIFF), whole tables (TIFF's OPEN_INFO, JPEG's MARKER) and the registry of formats in its
modules, where the user's program may change them, and any other thread meanwhile. Its modules import one another
relatively, so they can be loaded a second time under another name; that costs 20 ms and 3 MB. All of them are loaded
when this module is imported, so that nothing is imported while an image is decoded.
"""

import contextlib
import importlib
import importlib.util
import logging
import pkgutil
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# The entry of EXIF in a HEIF container: version 2 or 3, flags, number of the item in 2 or 4 bytes, protection, type.
_EXIF_ITEM = re.compile(rb"(infe[\2\3].{7,9})Exif", re.DOTALL)
NAME = "scatcache_own_pillow"
# Twice Pillow's own default of Image.MAX_IMAGE_PIXELS, which is where Pillow refuses by default.
MAX_PIXELS = 178_956_970


def check_size(size: tuple[int, int], *_: Any, **__: Any) -> None:
    """Raises ValueError for more than MAX_PIXELS pixels of (width, height); called as Pillow calls its own check."""
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[1]}x{size[0]} pixels, more than the {MAX_PIXELS} allowed")


class _NoWarnings:
    """Stands in for the module `warnings`, through which Pillow reports doubts: `-W error` makes them failures."""

    def warn(self, *_: Any, **__: Any) -> None:
        pass


def _load() -> ModuleType:
    """The copy's module Image, with the readers of all formats."""
    # Its loggers ask this one, which hears nothing.
    logging.getLogger(NAME).setLevel(logging.CRITICAL + 1)
    found = importlib.util.find_spec("PIL")
    assert found is not None and found.origin is not None
    folders = list(found.submodule_search_locations or ())
    spec = importlib.util.spec_from_file_location(NAME, found.origin, submodule_search_locations=folders)
    assert spec is not None and spec.loader is not None
    package = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    image = importlib.import_module(f"{NAME}.Image")
    names = sorted(f"{NAME}.{entry.name}" for entry in pkgutil.iter_modules(folders))
    for name in names:
        # Some readers need libraries that are not there.
        if name.endswith("ImagePlugin"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    # Nor does it look for readers later, which some versions would do under the name PIL.
    image._initialized = 2  # type: ignore[attr-defined]
    setattr(image, "_decompression_bomb_check", check_size)  # noqa: B010, which mypy knows nothing of
    for name in names:
        module = sys.modules.get(name)
        if hasattr(module, "warnings"):
            module.warnings = _NoWarnings()  # type: ignore[union-attr]
    avif = sys.modules[f"{NAME}.AvifImagePlugin"]
    if hasattr(avif, "_avif"):
        avif._avif = _Avif(avif._avif)  # type: ignore[attr-defined]
    return image


class _Avif:
    """Stands in for Pillow's binding of libavif, which reports damaged pixels as RuntimeError, and whose EXIF Pillow
    writes again where the file turns its image."""

    def __init__(self, binding: Any):
        self._binding = binding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)

    def AvifDecoder(self, data: bytes, codec: str, n_threads: int) -> "_AvifDecoder":
        # libavif refuses a picture for its EXIF, unless that is an item of another type.
        data = _EXIF_ITEM.sub(rb"\1free", data)
        return _AvifDecoder(_call(self._binding.AvifDecoder, data, codec, n_threads))


class _AvifDecoder:
    def __init__(self, decoder: Any):
        self._decoder = decoder

    def get_info(self) -> tuple[Any, ...]:
        """(size, number of frames, mode, ICC profile, EXIF, orientation, XMP), without ICC and EXIF: libavif takes the
        orientation from where it counts."""
        size, n_frames, mode, _, _, orientation, xmp = self._decoder.get_info()
        return size, n_frames, mode, None, None, orientation, xmp

    def get_frame(self, frame: int) -> Any:
        return _call(self._decoder.get_frame, frame)


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except RuntimeError as error:
        if "memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise ValueError(str(error)) from error


if TYPE_CHECKING:
    from PIL import Image as Image
    from PIL import UnidentifiedImageError as UnidentifiedImageError
else:
    Image = _load()
    UnidentifiedImageError = sys.modules[NAME].UnidentifiedImageError
