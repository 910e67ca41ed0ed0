"""A periodic table of small networks: element = activation × depth × width (× skip)."""
