"""Answers for people and programs: which image files are asked for, and how what a model says of them is shown."""
