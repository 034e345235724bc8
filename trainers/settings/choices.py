"""The names that commands choose by, beside the library's (`keras_vit.choices`).

The functions behind them stand in tables with the same keys, whose modules need TensorFlow.
"""

DISTRIBUTIONS = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
ON_NONFINITE = ("stop", "skip")
RESUME = ("auto", "never", "require")

ON_BAD_IMAGE = ("fail", "skip")
CACHES = ("auto", "memory", "none")
SAMPLINGS = ("natural", "balanced")
AUGMENTATIONS = ("none", "inception", "small_crop", "resize_crop", "pad_crop", "affine")

EXPORT_FORMATS = ("saved_model", "tflite", "tflite_float32", "tflite_float16", "tflite_full_int8", "onnx")
TFLITE_BATCHES = ("1", "dynamic")
PREDICTION_FORMATS = ("table", "json", "csv")
