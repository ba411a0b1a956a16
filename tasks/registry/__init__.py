"""Published models: whole folders with a manifest of hashes, and a pointer to the current one."""
