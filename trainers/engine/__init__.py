"""The training engine: it knows no images and no models, only values that are passed in."""
