"""How firm an attractor is: the smallest shocks that lead elsewhere, and where noise leads in the long run."""
