"""What is in a source, found out before money is spent on it: one look at every image, and what follows from it."""
