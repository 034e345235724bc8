"""Evaluation protocols: numbers from arrays."""
