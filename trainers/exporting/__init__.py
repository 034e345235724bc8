"""What leaves a run: artefacts in other formats, each held against the model before it is published."""
