"""Programs for who develops the project."""
