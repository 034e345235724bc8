"""From named datasets to batches that replicas can use."""
