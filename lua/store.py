"""What the functions need of a client: one command in, one reply out."""

from typing import Any, Protocol


class Store(Protocol):
    """Anything that sends one command and returns its reply: a client of a real server, or of the fake one."""

    async def execute_command(self, *args: Any) -> Any:
        """The reply; raises redis.exceptions.RedisError."""
        ...
