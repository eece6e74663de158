"""`icaze doctor`: what the connected store really promises, measured, and what to change."""
