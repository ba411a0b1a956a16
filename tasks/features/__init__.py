"""The features stage: frozen MobileNetV2 features, stored by image hash and computed once per image."""
