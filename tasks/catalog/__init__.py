"""MovieGenre.csv in, a typed table of films out, with every dropped row counted by reason."""
