"""What a saved model is measured by: one file for each evaluation, and what they share."""
