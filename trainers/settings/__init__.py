"""From command lines and flag files to one frozen settings dataclass per command: a flag is a dataclass field."""
