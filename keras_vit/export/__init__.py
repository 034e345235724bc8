"""The library's one door to TensorFlow: what leaves the model as a file, and the preprocessing that goes with it."""
