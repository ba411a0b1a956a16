"""The outputs of the model, a class and a file each: genres, decade, score, embedding.

Everything about an output is in its file: layers, targets, loss, metrics, tensors and columns of the exported model,
decoding, scores, its line of the report. The genres have more, since they are what the model is for: thresholds
(`tasks.training`), and their scores against baselines and champion (`tasks.evaluation`). Beside the outputs are the
losses, metrics, layers and the calibration that they use.

A file is named like its setting, `heads.<name>`. Its module imports neither TensorFlow nor Keras, which its methods
import where they need them: predictions are decoded without them.
"""
