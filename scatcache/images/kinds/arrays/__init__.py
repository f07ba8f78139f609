"""Arrays that hold many images: in files of several formats, and in Python."""
