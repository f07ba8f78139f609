"""The scattering transform in C++: cascade.h states the stages, library.py finds the core, transform.py calls it."""
