"""The one form of a part's images, found from their headers."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import WholePart
from scatcache.spec import COLOURS, NATIVE

# Enough headers to say which form is commonest; mixed ones are refused without reading the rest.
HEADERS_TO_NAME_A_FORM = 2000
ROWS_PER_BLOCK = 500
# Handing one row to a thread costs as much as reading the header of a small file.
ROWS_PER_TASK = 25
# Reading headers mostly waits for the disk, so more threads than cores help.
N_THREADS = 16
# Other forms told of, with one image of each.
N_SHOWN = 3


def find_form(part: WholePart, how: Decoding) -> ImageForm:
    """What decoding makes of every image of a part but for its size; headers that do not parse are passed over.

    With how.size images may differ in height and width: those of the commonest form are given. Raises SourceError where
    images are mixed, no header parses, or the images cannot be had as how.kind; OSError as the disk does.
    """
    if part.image_form is not None:
        return _take_as(part.image_form, how)
    if how.size is not None and how.kind != NATIVE:
        return ImageForm(how.size, how.size, COLOURS[how.kind], "uint8")
    counts: Counter[ImageForm] = Counter()
    first: dict[ImageForm, str] = {}
    reason, n_rows = "", len(part.listing.rows)
    with ThreadPoolExecutor(N_THREADS) as pool:
        for start in range(0, n_rows, ROWS_PER_BLOCK):
            block = range(start, min(start + ROWS_PER_BLOCK, n_rows))
            pieces = [block[at : at + ROWS_PER_TASK] for at in range(0, len(block), ROWS_PER_TASK)]
            found = chain.from_iterable(pool.map(partial(_try_headers, part, how), pieces))
            for i, (form, why) in zip(block, found, strict=True):
                if form is None:
                    reason = reason or why
                    continue
                counts[form] += 1
                first.setdefault(form, part.listing.rows[i].key)
            if len(_group(counts, how)) > 1 and counts.total() >= HEADERS_TO_NAME_A_FORM:
                break
    if not counts:
        advice = "" if how.kind == NATIVE else ", or give --pixels native for samples that are no 8-bit picture"
        raise SourceError(f"none of the {n_rows} images has a readable header ({reason}): check the files{advice}")
    return _agree(counts, first, how)


def _take_as(form: ImageForm, how: Decoding) -> ImageForm:
    """A form that is known to be that of all, under how.kind."""
    if how.kind == NATIVE:
        return form
    if form.dtype != "uint8" or form.bands not in COLOURS.values():
        raise SourceError(
            f"the images are {_describe(form)}: --pixels {how.kind} takes uint8 of 1 or 3 bands: give --pixels native"
        )
    return form._replace(bands=COLOURS[how.kind])


def _try_headers(part: WholePart, how: Decoding, rows: range) -> list[tuple[ImageForm | None, str]]:
    return [_try_header(part, how, i) for i in rows]


def _try_header(part: WholePart, how: Decoding, i: int) -> tuple[ImageForm | None, str]:
    try:
        return part.form(i, how), ""
    except UnreadableImage as error:
        return None, f"{part.listing.rows[i].key}: {error}"


def _group(counts: Counter[ImageForm], how: Decoding) -> Counter[ImageForm]:
    """The counts by what must be alike."""
    if how.size is None:
        return counts
    groups: Counter[ImageForm] = Counter()
    for form, n_images in counts.items():
        groups[form._replace(height=how.size, width=how.size)] += n_images
    return groups


def _agree(counts: Counter[ImageForm], first: dict[ImageForm, str], how: Decoding) -> ImageForm:
    groups = _group(counts, how)
    # Equal counts: the larger form, so that the message never depends on the order of reading.
    form, n_images = max(groups.items(), key=lambda item: (item[1], item[0]))
    if len(groups) == 1:
        return form
    if all(other[2:] == form[2:] for other in groups):
        what, describe, advice = "sizes", _describe_size, "give --size N to bring all to N x N pixels"
    else:
        what, describe = "kinds", _describe
        advice = "give --pixels rgb or grey for pictures, or sort them into a split for each"
    others = "; ".join(f"{key} is {describe(other)}" for other, key in _show_others(first, form, how))
    raise SourceError(
        f"the images have {len(groups)} different {what}; the commonest, {describe(form)}, is that of {n_images} of "
        f"the {counts.total()} read; {others}: {advice}"
    )


def _show_others(first: dict[ImageForm, str], commonest: ImageForm, how: Decoding) -> Iterator[tuple[ImageForm, str]]:
    """A few of the other forms, each with the first image that has it."""
    seen = {commonest}
    for form, key in first.items():
        (group,) = _group(Counter([form]), how)
        if group not in seen and len(seen) <= N_SHOWN:
            seen.add(group)
            yield form, key


def _describe(form: ImageForm) -> str:
    bands = "1 band" if form.bands == 1 else f"{form.bands} bands"
    return f"{_describe_size(form)} of {bands} of {form.dtype}"


def _describe_size(form: ImageForm) -> str:
    return f"{form.height}x{form.width} (height x width)"
