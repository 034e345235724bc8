"""What leaves a run: files in other formats, each held against the model before it is published."""
