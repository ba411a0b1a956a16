"""Versions of what the stages make: raise one with any change to what its stage gives for the same input.

What an earlier version made is then made anew, in place of being taken for finished.
"""

RECORDS = 3  # TFRecord shards and dataset.json
PREPROCESSING = 2  # from the bytes of a poster to pixels
TRAINING = 4  # the head and how it is fitted
EVALUATION = 3  # figures and report
EXPORT = 4  # the exported model and its check
MODEL = 1  # the folder of a published model
