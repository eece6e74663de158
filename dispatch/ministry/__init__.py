"""The port to the Ministry, and its two implementations: `off` and `http`."""
