"""Download posters: films in, poster parts (Parquet) out, which are also the ledger of what was asked and answered."""
