"""Where the files of a store are, and the few calls by which they are read and written there."""
