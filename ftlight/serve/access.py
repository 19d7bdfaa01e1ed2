"""Who may ask: everybody on this machine, or those with a token."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ftlight.utils.errors import UserError

VARIABLE = "FTLIGHT_TOKEN"
TOKEN = re.compile(r"[\x21-\x7e]+")


class Access(NamedTuple):
    """Who may ask.

    Attributes:
        token: what a request must bring; none if empty.
        host: the host that is served.
    """

    token: str = ""
    host: str = "127.0.0.1"

    def allows(self, authorization: str) -> bool:
        """Whether a request with this header may be answered; compared in constant time."""
        if not self.token:
            return True
        kind, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return same and kind.lower() == "bearer"

    def is_meant(self, host: str, site: str = "") -> bool:
        """Whether a request names this server, and is not made by a page of another site.

        Without a token a page of the web could else let a browser ask, under a name of its own
        that leads here, or blindly: what it asks would be computed, though it reads no answer.

        Args:
            host: the header Host.
            site: the header Sec-Fetch-Site, in which browsers say whose page asks.
        """
        if site == "cross-site" and not self.token:
            return False
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        return bool(self.token) or name in ("", self.host.lower()) or is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone, by its name.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "box")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_token(path: str, environment: Mapping[str, str]) -> str:
    """The token of a file, or of the environment; empty if there is none.

    Raises:
        UserError: the file cannot be read, or holds no token.
    """
    place, token = VARIABLE, environment.get(VARIABLE, "")
    if path:
        place = f"--token_file {path}"
        try:
            token = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise UserError(f"{place}: cannot be read ({why})") from None
    if not path and VARIABLE not in environment:
        return ""
    token = token.strip()
    if not TOKEN.fullmatch(token):
        raise UserError(f"{place}: holds no token, which is letters, digits and signs of ASCII")
    return token


def settle(host: str, token: str) -> Access:
    """Who may ask a server on a host.

    Raises:
        UserError: others could reach it, and there is no token.
    """
    if not token and not is_loopback(host):
        raise UserError(
            f"--host {host} can be reached by others: set {VARIABLE} or give --token_file F, whose"
            " token each request must bring, or serve 127.0.0.1 alone"
        )
    return Access(token, host)
