"""The catalog stage: reads MovieGenre.csv into a typed table of films; counts dropped rows by reason."""
