"""The drift stage: compares the films, posters and predictions of a new model with those of the champion."""
