"""The bytes of a store, in and out: pure functions from records to bytes and back; no file is opened here."""
