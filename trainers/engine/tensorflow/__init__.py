"""The engine on TensorFlow: the one place that knows strategies, replicas and graphs."""
