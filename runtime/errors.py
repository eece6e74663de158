"""What stops a role from starting, in one line that says what to do."""


class StartupError(RuntimeError):
    """The role cannot start; the message is for the person who started it."""
