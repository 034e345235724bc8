"""Random transformations of training data, as stateless functions."""
