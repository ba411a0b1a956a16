"""The sample: synthetic posters, their MovieGenre.csv, and a server on loopback that serves them."""
