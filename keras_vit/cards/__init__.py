"""Model cards: what a model is, was trained on and is good for, as data and as Markdown."""
