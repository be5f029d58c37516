"""Fixed points and attractors as a parameter of their map changes: continuation, and branches from level to level."""
