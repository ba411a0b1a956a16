"""A small film site to try everything on: synthetic posters, their MovieGenre.csv, and a server on loopback."""
