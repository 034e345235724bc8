"""What a model has learned, in arrays and pictures."""
