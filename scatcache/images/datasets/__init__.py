"""The datasets known by name, one module each."""
