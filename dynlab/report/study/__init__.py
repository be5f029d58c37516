"""How the page of a study looks: its parts, its figures, its pictures, and the file."""
