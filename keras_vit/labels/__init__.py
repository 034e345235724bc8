"""Names of the classes that published heads have, as data. Standard library only."""
