"""Files at an address: an object store (S3, GCS) or a folder, shared by runs on several machines."""
