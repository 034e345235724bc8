"""Models in any form, asked for their answers to image files."""
