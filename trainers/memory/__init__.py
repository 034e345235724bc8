"""How much memory training takes on a device, by formula, and what to change where that is too much."""
