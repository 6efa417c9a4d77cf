"""The built-in set: drawn pedestrians under four cameras."""
