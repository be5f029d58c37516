"""Which attractors are neighbours: the saddles between their basins, how these are found, and the graph of them."""
