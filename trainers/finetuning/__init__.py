"""What fine-tuning adds to training: what is trained, an instant baseline, a budget of time, the paper's protocol."""
