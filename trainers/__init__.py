"""Commands that train and evaluate Vision Transformers; `python -m trainers` lists them."""
