"""Which addresses are public. The tables are the special-purpose registries of IANA (RFC 6890), written out.

They are not taken from `ipaddress.is_global`, whose answers changed between patch releases of Python.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from workers.door.errors import DoorError

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and 255.255.255.255
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
# Where clouds tell a machine its credentials. Some are public addresses, and none is let through for development.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "192.0.0.192",
        "fd00:42::42",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
_LOOKS_NUMERIC = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)$", re.IGNORECASE)


def check_address(address: Address, *, allow_private: bool = False) -> None:
    """Refuse an address that is not on the public internet.

    Raises:
        DoorError: address_not_allowed.
    """
    if _carried_v4(address) in _METADATA or address in _METADATA or not (allow_private or _is_public(address)):
        raise DoorError(
            "address_not_allowed", "The host is, or leads to, an address that is not on the public internet."
        )


def literal_address(host: str) -> Address | None:
    """Return the address that a host spells, in any of the ways C libraries read one; None for a name.

    Raises:
        DoorError: url_invalid for what looks like an address and is none.
    """
    if ":" in host:
        try:
            return IPv6Address(host.partition("%")[0])
        except ValueError:
            raise DoorError("url_invalid", "The host is not an IPv6 address.") from None
    if not _LOOKS_NUMERIC.search(host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        raise DoorError("url_invalid", "The host ends in a number but is no IPv4 address.") from None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address in _NAT64:
        carried = _carried_v4(address)
        return carried is not None and _is_public(carried)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def _carried_v4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
