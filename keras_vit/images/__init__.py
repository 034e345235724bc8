"""From encoded images to what a model takes, in a TensorFlow graph: one truth for training, evaluation and exports."""
