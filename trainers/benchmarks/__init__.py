"""Kinds of benchmarks: each file measures one and prints its table."""
