"""What a study answers: rows of results, what they say together and beside the published figures, and its files."""
