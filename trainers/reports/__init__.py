"""What a finished run or evaluation shows people: tables by class, confusion, curves."""
