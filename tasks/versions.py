"""Versions of the stages' results: raise one with every change of a stage's result for the same inputs.

Results of an earlier version are then made again.
"""

RECORDS = 3  # TFRecord shards and dataset.json
PREPROCESSING = 2  # from the bytes of a poster to pixels
VIEWS = 2  # the parts of a poster that its views show
TRAINING = 6  # the head and how it is fitted
EVALUATION = 5  # figures and report
DRIFT = 1  # statistics.json
GATE = 1  # the checks of a candidate: a known model is judged again
EXPORT = 8  # the exported model and its check
MODEL = 1  # the folder of a published model
