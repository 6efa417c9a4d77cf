"""The built-in set: drawn pedestrians before four cameras."""
