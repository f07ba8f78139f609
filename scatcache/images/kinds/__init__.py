"""The kinds of sources: what lies at a path, or in memory, and how its images are listed and read."""
