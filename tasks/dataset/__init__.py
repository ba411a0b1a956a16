"""Films and posters in; genre vocabulary, leak-free split and TFRecord shards out."""
