"""Running the tasks of a study: in which order, by whom, what was done of them and what failed."""
