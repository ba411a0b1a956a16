"""The outputs of the model, a class and a file each: genres, decade, score, embedding.

Everything about an output is in its file: layers, targets, loss, metrics, tensors and columns of the exported model,
decoding, scores, its line of the report. A file is named like its setting, `heads.<name>`. Its module imports neither
TensorFlow nor Keras, which its methods import where they need them: predictions are decoded without them.
"""
