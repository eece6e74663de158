"""The atomic state: the function library, every key name, and the typed Python face of each function."""
