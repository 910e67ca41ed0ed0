"""A periodic table of small neural networks: an element is an activation × depth × width (× skip)."""
