"""What every training command does: plan, task, training in a run folder, summary, model card."""
