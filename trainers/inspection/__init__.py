"""The doctor's house: what is looked at in a data set or a machine before money is spent."""
