from scatcache.images.decoding.notes import CONSTANT, CUT, FIRST, add_notes, word_notes


def test_notes_are_added_by_code_and_worded():
    notes = add_notes({CUT: 2}, {}, {CONSTANT: 1, CUT: 1500})
    assert list(notes.items()) == [(CONSTANT, 1), (CUT, 1502)]
    cut, constant = word_notes(notes)
    assert cut.startswith("1,502 images are cut to 8 bits") and constant == "1 image is of one single colour"
    assert word_notes({}) == word_notes({FIRST: 0}) == ()
