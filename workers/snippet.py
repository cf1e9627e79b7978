"""How an answer begins, for people who look for what went wrong."""

from __future__ import annotations

import asyncio

import httpx

_CHARACTERS = 200


async def read_snippet(response: httpx.Response) -> str:
    """Return how the answer begins, as one printable line; as much as came of one that breaks off or never ends."""
    begun = b""
    try:
        async with asyncio.timeout(1):
            async for chunk in response.aiter_bytes():
                begun += chunk
                if len(begun) >= 4 * _CHARACTERS:
                    break
    except (httpx.HTTPError, TimeoutError):
        pass
    text = " ".join(begun.decode(errors="replace").split())
    return "".join(character for character in text if character.isprintable())[:_CHARACTERS]
