"""Which URLs are allowed, as far as their text tells; what a name resolves to is looked at when connecting."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx

from workers.door.addresses import check_address, literal_address
from workers.door.errors import DoorError

_MAX_URL_CHARS = 8192
_MAX_HOST_CHARS = 253
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# Names that only mean something inside a network; what they resolve to is refused as well.
_PRIVATE_NAMES = re.compile(
    r"(?:.*\.)?(?:localhost|localdomain|local|internal|intranet|lan|home\.arpa)"
    r"|localhost[46]?|ip6-(?:localhost|loopback)|metadata(?:\.goog)?|instance-data"
)
_METADATA_NAMES = frozenset({"metadata", "metadata.goog", "metadata.google.internal", "instance-data.ec2.internal"})


class AllowedHosts:
    """An organization's allow list: exact names, and `*.suffix` for every name below the suffix."""

    def __init__(self, patterns: Sequence[str]) -> None:
        plain = [_plain(pattern) for pattern in patterns]
        self._exact = frozenset(pattern for pattern in plain if not pattern.startswith("*."))
        self._suffixes = tuple(pattern[1:] for pattern in plain if pattern.startswith("*."))

    def __contains__(self, host: object) -> bool:
        return isinstance(host, str) and (host in self._exact or host.endswith(self._suffixes))


def check_url(url: httpx.URL, *, allow_private: bool, allowed: AllowedHosts | None) -> str:
    """Refuse a URL that may not be asked for; return its host in the one spelling that rules are written in.

    Raises:
        DoorError: scheme_not_allowed, url_invalid, host_not_allowed, address_not_allowed.
    """
    if url.scheme not in ({"https", "http"} if allow_private else {"https"}):
        raise DoorError("scheme_not_allowed", "Only https:// addresses are allowed.")
    if url.userinfo:
        raise DoorError("url_invalid", "The URL may not hold a user name or password.")
    if len(str(url)) > _MAX_URL_CHARS or (url.port is not None and not 1 <= url.port <= 65535):
        raise DoorError("url_invalid", f"The URL is longer than {_MAX_URL_CHARS} characters, or its port is none.")
    host = url.raw_host.decode("ascii").lower().removesuffix(".")
    address = literal_address(host)
    if address is not None:
        check_address(address, allow_private=allow_private)
        if str(address) != host and ":" not in host:
            raise DoorError("url_invalid", "The URL must spell an IPv4 address as four decimal numbers.")
        host = str(address)
    elif len(host) > _MAX_HOST_CHARS or not _NAME.fullmatch(host):
        raise DoorError("url_invalid", "The URL names no host, or one that no DNS can know.")
    elif host in _METADATA_NAMES or (_PRIVATE_NAMES.fullmatch(host) and not allow_private):
        raise DoorError("address_not_allowed", "The host's name belongs to private networks.")
    if allowed is not None and host not in allowed:
        raise DoorError(
            "host_not_allowed", f"The host {host} is not in the organization's settings.network.allowed_hosts."
        )
    return host


def _plain(pattern: str) -> str:
    """Return a pattern as hosts are written: lower case, without the last dot, IDNA for what is not ASCII."""
    star, _, name = pattern.strip().lower().removesuffix(".").rpartition("*.")
    try:
        name = name if name.isascii() else httpx.URL(f"https://{name}").raw_host.decode("ascii")
    except httpx.InvalidURL:
        return ""
    return f"*.{name}" if "*." in pattern and not star and name else name if "*" not in pattern else ""
