"""What is minimised: objectives `(model, batch) -> (losses, sums)`."""
