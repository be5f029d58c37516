"""Attractors that were followed over the levels of a parameter, as the page of a ladder begins with them."""
