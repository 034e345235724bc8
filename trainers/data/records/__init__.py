"""Record files: read by number, written by `trainers.prepare`."""
