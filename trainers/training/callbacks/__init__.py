"""Callbacks of the training commands."""
