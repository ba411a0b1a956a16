"""The posters stage: downloads films' posters into poster parts (Parquet), which are also the ledger of downloads."""
