"""Protocols that turn features, predictions and labels into the numbers papers report."""
