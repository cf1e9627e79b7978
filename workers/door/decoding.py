"""Undoes Content-Encoding in pieces of bounded size, so that a small answer never becomes a large one in memory."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator

from workers.door.errors import DoorError

ACCEPTED = "gzip, deflate"

_PIECE_BYTES = 65_536
_MAX_LAYERS = 2
# How much longer than its content an encoded answer may be: headers and checksums of what cannot be made smaller.
_OVERHEAD_BYTES = 65_536


class BadEncoding(Exception):  # noqa: N818 - says what is wrong with the answer
    """The answer is not what its Content-Encoding says, or is cut short."""


class _Inflate:
    """One layer of gzip or deflate."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._head = b""
        self._inflater: zlib._Decompress | None = None
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` stands for; a gzip answer may consist of several members (RFC 1952, 2.2)."""
        while data and not self._over:
            if self._inflater is None:
                self._head += data
                if len(self._head) < 2:
                    return
                data, self._head = self._head, b""
                self._inflater = zlib.decompressobj(self._window_bits(data))
            data = yield from self._inflate(self._inflater, data)

    def end(self) -> None:
        """Raise BadEncoding when something is missing."""
        if self._head or self._inflater is not None:
            raise BadEncoding("the compressed answer is cut short")

    def _inflate(self, inflater: zlib._Decompress, data: bytes) -> Generator[bytes, None, bytes]:
        while True:
            try:
                piece = inflater.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise BadEncoding(str(error)) from None
            if piece:
                yield piece
            if inflater.eof:
                self._inflater = None
                self._over = not self._gzip
                return inflater.unused_data
            data = inflater.unconsumed_tail
            if not data and len(piece) < _PIECE_BYTES:
                return b""

    def _window_bits(self, head: bytes) -> int:
        if self._gzip:
            return zlib.MAX_WBITS | 16
        # Some servers send deflate without the zlib header that RFC 9110, 8.4.1.2 asks for.
        has_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


class Decoder:
    """All layers of an answer, the last one applied undone first; no layer yields more than `max_bytes` and a bit.

    Raises:
        DoorError: response_encoding_unsupported.
    """

    def __init__(self, content_encoding: str, max_bytes: int) -> None:
        names = [name.strip().lower().removeprefix("x-") for name in content_encoding.split(",")]
        layers = [name for name in reversed(names) if name not in {"", "identity"}]
        if len(layers) > _MAX_LAYERS or any(name not in {"gzip", "deflate"} for name in layers):
            raise DoorError(
                "response_encoding_unsupported", f"The answer's Content-Encoding is not one of {ACCEPTED}, or several."
            )
        self._layers = [_Inflate(name) for name in layers]
        self._max_bytes = max_bytes
        self._sizes = [0] * (len(layers) + 1)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that the next bytes of the answer stand for.

        Raises:
            DoorError: response_too_large.
            BadEncoding: the bytes are not in the encoding.
        """
        return self._run(data, 0)

    def end(self) -> None:
        """Raise BadEncoding when the answer is cut short."""
        for layer in self._layers:
            layer.end()

    def _run(self, data: bytes, depth: int) -> Iterator[bytes]:
        self._sizes[depth] += len(data)
        innermost = depth == len(self._layers)
        if self._sizes[depth] > self._max_bytes + (0 if innermost else _OVERHEAD_BYTES):
            raise too_large(self._max_bytes)
        if innermost:
            if data:
                yield data
            return
        for piece in self._layers[depth].feed(data):
            yield from self._run(piece, depth + 1)


def too_large(max_bytes: int) -> DoorError:
    """Return the error for an answer over its cap."""
    return DoorError("response_too_large", f"The answer is larger than {max_bytes} bytes.")
