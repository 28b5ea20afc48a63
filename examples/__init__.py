"""Tables to try the program on, and how each is fitted."""
