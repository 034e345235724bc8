"""Data sets that TensorFlow Datasets prepares."""
