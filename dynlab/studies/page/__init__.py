"""The page of a study, a module for each of its sections; `sections` puts them together."""
