"""Recipes: whole systems, end to end, written as clients of the public API; not part of the wheel."""
