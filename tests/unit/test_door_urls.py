"""What the door refuses before anything is connected to: a table of hostile URLs, and the allow list."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import httpx
import pytest

from tests.unit.door_scene import NO_TLS, PUBLIC, Names, Wires
from workers.door import Door, DoorError, door_failure
from workers.door.addresses import check_address

ADDRESS, HOST, SCHEME, URL = "address_not_allowed", "host_not_allowed", "scheme_not_allowed", "url_invalid"

HOSTILE = [
    # Loopback, in every spelling.
    ("https://127.0.0.1/", ADDRESS),
    ("https://127.0.0.1:8443/", ADDRESS),
    ("https://127.255.255.254/", ADDRESS),
    ("https://127.1/", ADDRESS),
    ("https://127.0.1/", ADDRESS),
    ("https://2130706433/", ADDRESS),
    ("https://017700000001/", ADDRESS),
    ("https://0x7f000001/", ADDRESS),
    ("https://0x7f.0.0.1/", ADDRESS),
    ("https://0x7f.1/", ADDRESS),
    ("https://0177.0.0.01/", URL),
    ("https://0X7F.0x0.0x0.0x1/", ADDRESS),
    ("https://127.0.0.1./", ADDRESS),
    ("https://127。0。0。1/", ADDRESS),
    ("https://１２７.0.0.1/", URL),  # noqa: RUF001
    ("https://①②⑦.⓪.⓪.①/", URL),
    ("https://127.0.0.1%2e/", URL),
    ("https://%31%32%37.0.0.1/", URL),
    ("https://localhost/", ADDRESS),
    ("https://LOCALHOST/", ADDRESS),
    ("https://localhost./", ADDRESS),
    ("https://api.localhost/", ADDRESS),
    ("https://localhost.localdomain/", ADDRESS),
    ("https://ip6-localhost/", ADDRESS),
    ("https://ⓛocalhost/", URL),
    ("https://[::1]/", ADDRESS),
    ("https://[0:0:0:0:0:0:0:1]/", ADDRESS),
    ("https://[0000:0000:0000:0000:0000:0000:0000:0001]:443/", ADDRESS),
    # This host, and nobody.
    ("https://0/", ADDRESS),
    ("https://0.0.0.0/", ADDRESS),
    ("https://0x0/", ADDRESS),
    ("https://[::]/", ADDRESS),
    # Private networks.
    ("https://10.0.0.1/", ADDRESS),
    ("https://10.1/", ADDRESS),
    ("https://0xa000001/", ADDRESS),
    ("https://172.16.0.1/", ADDRESS),
    ("https://172.31.255.255/", ADDRESS),
    ("https://192.168.0.1/", ADDRESS),
    ("https://3232235521/", ADDRESS),
    ("https://0300.0250.0.1/", URL),
    ("https://100.64.0.1/", ADDRESS),
    ("https://100.127.255.255/", ADDRESS),
    ("https://[fc00::1]/", ADDRESS),
    ("https://[fd12:3456:789a::1]/", ADDRESS),
    ("https://[fec0::1]/", ADDRESS),
    # Link-local, with and without a zone.
    ("https://169.254.1.1/", ADDRESS),
    ("https://[fe80::1]/", ADDRESS),
    ("https://[fe80::1%25eth0]/", ADDRESS),
    ("https://[fe80::1%eth0]/", ADDRESS),
    ("https://[::1%25lo]/", ADDRESS),
    # Metadata services.
    ("https://169.254.169.254/latest/meta-data/", ADDRESS),
    ("https://2852039166/", ADDRESS),
    ("https://0xA9FEA9FE/", ADDRESS),
    ("https://0251.0376.0251.0376/", URL),
    ("https://[::ffff:169.254.169.254]/", ADDRESS),
    ("https://[fd00:ec2::254]/", ADDRESS),
    ("https://100.100.100.200/", ADDRESS),
    ("https://168.63.129.16/", ADDRESS),
    ("https://metadata.google.internal/computeMetadata/v1/", ADDRESS),
    ("https://metadata.google.internal./", ADDRESS),
    ("https://Metadata.Google.Internal/", ADDRESS),
    ("https://metadata/", ADDRESS),
    ("https://db.internal/", ADDRESS),
    ("https://printer.local/", ADDRESS),
    # IPv4 inside IPv6.
    ("https://[::ffff:127.0.0.1]/", ADDRESS),
    ("https://[::ffff:7f00:1]/", ADDRESS),
    ("https://[0:0:0:0:0:ffff:10.0.0.1]/", ADDRESS),
    ("https://[::ffff:93.184.215.14]/", ADDRESS),
    ("https://[::127.0.0.1]/", ADDRESS),
    ("https://[64:ff9b::127.0.0.1]/", ADDRESS),
    ("https://[64:ff9b::a9fe:a9fe]/", ADDRESS),
    ("https://[64:ff9b:1::a00:1]/", ADDRESS),
    ("https://[2002:7f00:1::]/", ADDRESS),
    ("https://[2002:a00:1::1]/", ADDRESS),
    ("https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/", ADDRESS),
    ("https://[2001:0:7f00:1::80ff:fffe]/", ADDRESS),
    # Reserved, documentation, multicast, broadcast.
    ("https://192.0.0.192/", ADDRESS),
    ("https://192.0.2.1/", ADDRESS),
    ("https://198.18.0.1/", ADDRESS),
    ("https://198.51.100.7/", ADDRESS),
    ("https://203.0.113.9/", ADDRESS),
    ("https://224.0.0.1/", ADDRESS),
    ("https://239.255.255.250/", ADDRESS),
    ("https://240.0.0.1/", ADDRESS),
    ("https://255.255.255.255/", ADDRESS),
    ("https://[ff02::1]/", ADDRESS),
    ("https://[2001:db8::1]/", ADDRESS),
    ("https://[100::1]/", ADDRESS),
    ("https://[3fff::1]/", ADDRESS),
    # Public addresses that are spelled to look like something else.
    ("https://1572395790/", URL),
    ("https://93.184.55054/", URL),
    ("https://1.2.3.4.5/", URL),
    ("https://256.256.256.256/", URL),
    ("https://example.0x7f/", URL),
    # Schemes.
    ("http://public.example/", SCHEME),
    ("http://127.0.0.1/", SCHEME),
    ("ftp://public.example/", SCHEME),
    ("file:///etc/passwd", SCHEME),
    ("gopher://127.0.0.1:6379/_INFO", SCHEME),
    ("wss://public.example/", SCHEME),
    ("//public.example/", SCHEME),
    ("/relative", SCHEME),
    ("javascript:alert(1)", SCHEME),
    # Credentials, and hosts that hide behind them.
    ("https://user:secret@public.example/", URL),
    ("https://user@public.example/", URL),
    ("https://public.example@127.0.0.1/", URL),
    ("https://public.example\\@127.0.0.1/", URL),
    ("https://public.example:443@127.0.0.1/", URL),
    # No host, or none that DNS can know.
    ("https:///path", SCHEME),
    ("https://:443/", SCHEME),
    ("https://./", URL),
    ("https://a..example/", URL),
    ("https://-.example/", URL),
    ("https://public.example../", URL),
    ("https://localhost%00.public.example/", URL),
    ("https://a b.example/", URL),
    ("https://" + "a" * 64 + ".example/", URL),
    ("https://" + ".".join(["abcdefgh"] * 32) + "/", URL),
    ("https://[::1/", URL),
    ("https://[v1.fe]/", URL),
    ("https://public.example:0/", URL),
    ("https://public.example:65536/", URL),
    ("https://public.example/" + "a" * 9000, URL),
    ("https://public.example/\r\nX-Injected: 1", URL),
]


async def refusal(url: str, **options: Any) -> str:
    """Return the code with which a closed door refuses a URL; nothing may be looked up or connected to."""
    names, wires = Names({"public.example": [[PUBLIC]]}), Wires({})
    async with Door(resolve=names, dial=wires, tls=NO_TLS) as door, door.client(**options) as client:
        with pytest.raises((DoorError, httpx.InvalidURL)) as caught:
            await client.post(url, content=b"secret")
    assert (names.asked, wires.dialled) == ([], [])
    failure = door_failure(caught.value)
    assert failure is not None
    assert not failure.retryable
    return failure.code


@pytest.mark.parametrize(("url", "code"), HOSTILE, ids=lambda value: str(value)[:60].encode("unicode_escape").decode())
async def test_a_hostile_url_is_refused_before_anything_is_connected_to(url: str, code: str) -> None:
    assert await refusal(url) == code


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    assert len({url for url, _ in HOSTILE}) == len(HOSTILE) > 100


@pytest.mark.parametrize(
    "url",
    [
        "https://public.example/",
        "https://PUBLIC.example./x?y=1#z",
        "https://public.example:8443/",
        "https://a_b.c-d.public.example/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/",
        "https://93.184.215.14/",
        "https://93.184.215.14.:8443/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://internal.example/",
        "https://mylocalhost.example/",
        "https://127.0.0.1.nip.example/",
        "https://1e100.net/",
    ],
)
async def test_a_public_url_is_connected_to(url: str) -> None:
    hosts = ("public.example", "a_b.c-d.public.example", "xn--bcher-kva.example", "internal.example", "1e100.net")
    more = ("public.example.", "mylocalhost.example", "127.0.0.1.nip.example")
    wires = Wires({})
    names = Names({host: [[PUBLIC]] for host in hosts + more})
    async with Door(resolve=names, dial=wires, tls=NO_TLS) as door, door.client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
    assert wires.dialled in ([PUBLIC], ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"])


@pytest.mark.parametrize(
    ("allowed", "host", "inside"),
    [
        (["public.example"], "public.example", True),
        (["Public.Example."], "PUBLIC.example", True),
        (["public.example"], "public.example.", True),
        (["public.example"], "www.public.example", False),
        (["public.example"], "notpublic.example", False),
        (["*.public.example"], "www.public.example", True),
        (["*.public.example"], "a.b.public.example", True),
        (["*.public.example"], "public.example", False),
        (["*.public.example"], "evilpublic.example", False),
        (["*.public.example"], "public.example.evil.example", False),
        (["other.example", "public.example"], "public.example", True),
        (["bücher.example"], "xn--bcher-kva.example", True),
        (["93.184.215.14"], "93.184.215.14", True),
        (["93.184.215.14"], "93.184.215.15", False),
        ([], "public.example", False),
        (["*"], "public.example", False),
        (["*."], "public.example", False),
        (["*ublic.example"], "public.example", False),
        (["public.*"], "public.example", False),
        ([""], "public.example", False),
    ],
)
async def test_an_allow_list_names_hosts_and_what_is_below(allowed: Sequence[str], host: str, inside: bool) -> None:
    if not inside:
        assert await refusal(f"https://{host}/", allowed_hosts=allowed) == HOST
        return
    wires = Wires({})
    names = Names({name: [[PUBLIC]] for name in (host.lower(), "www.public.example", "a.b.public.example")})
    async with Door(resolve=names, dial=wires, tls=NO_TLS) as door, door.client(allowed) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://{host}/")
    assert wires.dialled == [PUBLIC]


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://localhost/", "https://10.0.0.1/", "https://[::1]/"])
async def test_an_allow_list_never_opens_a_private_address(url: str) -> None:
    assert await refusal(url, allowed_hosts=["127.0.0.1", "localhost", "10.0.0.1", "::1"]) == ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.google.internal/",
        "http://[fd00:ec2::254]/",
    ],
)
async def test_an_open_door_still_refuses_metadata_services(url: str) -> None:
    wires = Wires({})
    async with Door(allow_private=True, dial=wires, tls=NO_TLS) as door, door.client() as client:
        with pytest.raises(DoorError, match=r"public internet|private networks"):
            await client.get(url)
    assert wires.dialled == []


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808", "2a00:1450::1"])
def test_public_addresses_pass(text: str) -> None:
    check_address(ip_address(text))
