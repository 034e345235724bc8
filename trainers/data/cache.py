"""Encoded images kept in memory between epochs."""

CACHES = {"auto": None, "memory": None, "none": None}
