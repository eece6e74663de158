"""Dead letters: listed, shown, put back, dropped, and counted."""
