"""What decode() rests on: Pillow kept to itself, and what is looked at before and after it."""
