"""Tables to try the program on, and the settings that fit each."""
