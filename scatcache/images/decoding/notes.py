"""What is told of images that decode, but not to all that their files hold; counted by code in the receipts."""

from collections.abc import Mapping

CONSTANT, CUT, DARK, FIRST = "constant", "cut_to_8_bits", "cut_to_dark", "first_of_several"
ROUNDED = "rounded"

_WORDS = {
    CUT: "{images} cut to 8 bits: more than 8 bits a sample, of which the upper 8 are kept",
    DARK: "{images} nearly black after that (at most 15 of 255), for the samples use fewer than 13 of their 16 bits: "
    "scale them up first",
    ROUNDED: "{images} of 32-bit integers or 64-bit floats, rounded to float32",
    CONSTANT: "{images} of one single colour",
    FIRST: "{images} taken from the first of several pages or frames of a file, the others left out",
}


def word_notes(notes: Mapping[str, int]) -> tuple[str, ...]:
    """A line for each code, notes being numbers of images."""
    return tuple(
        words.format(images="1 image is" if notes[code] == 1 else f"{notes[code]:,} images are")
        for code, words in _WORDS.items()
        if notes.get(code)
    )


def add_notes(*several: Mapping[str, int]) -> dict[str, int]:
    """The sums by code, in the order of the codes."""
    codes = sorted({code for notes in several for code in notes})
    return {code: sum(notes.get(code, 0) for notes in several) for code in codes}
