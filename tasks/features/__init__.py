"""Frozen MobileNetV2 features of posters, kept by image hash: a poster is embedded once in its life."""
