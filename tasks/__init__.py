"""The stages of the pipeline, a folder each, in the order the data passes through them."""
