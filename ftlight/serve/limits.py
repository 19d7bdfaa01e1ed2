"""What a server takes from those whom it does not know."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits of a server.

    Attributes:
        body: most bytes of a body.
        seconds: in which a body must have come.
        rows: most rows of a request.
        explained: most rows of a request that are explained.
        requests: most requests that are read or wait at once.
        held: most bytes of their bodies together.
    """

    body: int = 1_000_000
    seconds: float = 30.0
    rows: int = 1000
    explained: int = 50
    requests: int = 1000
    held: int = 256_000_000


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: status of HTTP.
        why: one line.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
