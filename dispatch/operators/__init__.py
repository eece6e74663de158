"""The port to an operator's gateway, and its two implementations: `console` and `http`."""
