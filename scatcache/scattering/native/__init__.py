"""The scattering transform in C++: stages.h states the stages, library.py finds the core, transform.py calls it."""
