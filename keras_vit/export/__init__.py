"""What leaves a model as a file for other programs: SavedModel, LiteRT, ONNX, and what serves them."""
