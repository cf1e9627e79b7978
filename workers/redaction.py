"""Hides secrets in texts: those handed out for an organization in what its attempts say, all of them in the log.

What one organization keeps secret is not looked for in what another's agents say: else anybody could garble the answers
of others with a secret like "because", and find out by trial what others' secrets are.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Set
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import to_json

from workers.clean import clean_text

REDACTED = "[redacted]"
PLATFORM = ""  # Whose secrets are hidden from everybody: the operator's.

# Shorter ones would hide words that only look like them.
_MIN_CHARS = 6
_MIN_PLATFORM_CHARS = 16
_MAX_CHARS = 32_000_000
_MAX_DEPTH = 100  # As in `clean`: what nests deeper is not kept by the database.
# What the HTTP client leaves as it is in a path or a query.
_URL_SAFE = "!$&'()*+,/:;=?@~"


class Redactor:
    """The values to hide; any thread may ask. What it keeps is bounded: whoever has the most loses the oldest."""

    def __init__(self, max_chars: int = _MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._values: dict[str, dict[str, frozenset[str]]] = {}
        self._chars: dict[str, int] = {}
        self._searches: dict[str | None, _Search] = {}  # Made when needed, thrown away when values change.
        self._lock = threading.Lock()

    def remember(self, value: str, organization: str = PLATFORM) -> None:
        """Hide a value from now on."""
        if len(value) < (_MIN_CHARS if organization else _MIN_PLATFORM_CHARS):
            return
        with self._lock:
            values = self._values.setdefault(organization, {})
            if value in values:
                values[value] = values.pop(value)  # It is the newest again.
                return
            values[value] = frozenset(_forms(value) if organization else {value})
            self._weigh(organization)
            while sum(self._chars.values()) > self._max_chars:
                largest = max(self._chars, key=self._chars.__getitem__)
                self._values[largest].pop(next(iter(self._values[largest])))
                self._weigh(largest)

    def _weigh(self, organization: str) -> None:
        if values := self._values[organization]:
            self._chars[organization] = sum(len(form) for forms in values.values() for form in forms)
        else:
            del self._values[organization], self._chars[organization]
        self._searches.pop(None, None)
        self._searches.pop(organization, None)
        if organization == PLATFORM:
            self._searches.clear()

    def search(self, organization: str | None = None) -> _Search | None:
        """Return what looks for the secrets in an organization's texts, or in those of nobody in particular."""
        if organization is not None and organization not in self._values:
            organization = PLATFORM
        search = self._searches.get(organization)
        if search is None and self._values:
            with self._lock:
                whose = self._values if organization is None else {organization, PLATFORM} & self._values.keys()
                search = _Search({form for name in whose for forms in self._values[name].values() for form in forms})
                self._searches[organization] = search
        return search

    def text(self, text: str, organization: str | None = None) -> str:
        """Return `text` with REDACTED for each secret in it."""
        search = self.search(organization)
        return text if search is None else search.hide(text)

    def json(self, value: Any, organization: str | None = None) -> Any:
        """Return a JSON value with the secrets in its strings hidden, in the names of its keys too."""
        search = self.search(organization)
        return value if search is None else _hide_json(search, value, 0)


class _Search:
    """Looks for some texts, and hides them; does not change."""

    def __init__(self, forms: Set[str]) -> None:
        self.forms = tuple(sorted(forms, key=len, reverse=True))
        # As they stand in an encoded item, where a form that is JSON is escaped once more.
        self._bytes = tuple(to_json(clean_text(form))[1:-1] for form in self.forms)
        self._longest = max(map(len, self.forms), default=0)
        self._heads: dict[str, list[str]] = {}
        for form in self.forms:
            self._heads.setdefault(form[:_MIN_CHARS], []).append(form)
        self._starts = frozenset(head[:length] for head in self._heads for length in range(1, _MIN_CHARS))

    def hide(self, text: str) -> str:
        """Return `text` with REDACTED for each of them, the longest first."""
        if self._found(text):
            for form in self.forms:
                text = text.replace(form, REDACTED)
        return text

    def found_in(self, encoded: bytes) -> bool:
        """Return whether one of them stands in an encoded JSON text."""
        return any(form in encoded for form in self._bytes)

    def safe_length(self, text: str) -> int:
        """Return how much of `text` can be looked at alone: none of them begins in it and may end behind it."""
        size = len(text)
        cut = next((at for at in range(max(0, size - self._longest + 1), size) if self._open(text, at)), size)
        while cut < size and (earlier := self._begin_across(text, cut)) < cut:
            cut = earlier
        return cut

    def _found(self, text: str) -> bool:
        if len(text) > len(self.forms):
            return any(form in text for form in self.forms)
        return any(self._at(text, at) for at in range(len(text) - _MIN_CHARS + 1))

    def _at(self, text: str, at: int) -> tuple[str, ...]:
        """Return those that stand in `text` at that place."""
        forms = self._heads.get(text[at : at + _MIN_CHARS])
        return tuple(form for form in forms if text.startswith(form, at)) if forms else ()

    def _open(self, text: str, at: int) -> bool:
        """Return whether one begins in `text` at that place whose end may follow behind."""
        head = text[at : at + _MIN_CHARS]
        if len(head) < _MIN_CHARS:
            return head in self._starts
        return any(len(form) > len(text) - at and form.startswith(text[at:]) for form in self._heads.get(head, ()))

    def _begin_across(self, text: str, cut: int) -> int:
        """Return where a whole one begins that stands on both sides of `cut`; else `cut`."""
        places = range(max(0, cut - self._longest + 1), cut)
        return next((at for at in places if any(at + len(form) > cut for form in self._at(text, at))), cut)


def _hide_json(search: _Search, value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return search.hide(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {_hide_json(search, key, depth): _hide_json(search, entry, depth + 1) for key, entry in value.items()}
    return [_hide_json(search, entry, depth + 1) for entry in value]


class Veil:
    """Hides an organization's secrets in what one attempt says."""

    def __init__(self, redactor: Redactor | None = None, organization: str = PLATFORM) -> None:
        self._redactor = redactor or _NOTHING
        self._organization = organization
        self._held = ""

    def text(self, text: str) -> str:
        """Return a text without them."""
        return self._redactor.text(text, self._organization)

    def json(self, value: Any) -> Any:
        """Return a JSON value without them."""
        return self._redactor.json(value, self._organization)

    def seen_in(self, encoded: bytes) -> bool:
        """Return whether one is seen in an encoded JSON text; much faster than `json`."""
        search = self._redactor.search(self._organization)
        return search is not None and search.found_in(encoded)

    def stream(self, text: str) -> str:
        """Return what of a stream can be shown after its next piece; what may be the beginning of a secret waits."""
        search = self._redactor.search(self._organization)
        if search is None:
            return text
        text = self._held + text
        cut = search.safe_length(text)
        self._held = text[cut:]
        return search.hide(text[:cut])

    def rest(self) -> str:
        """Return what waits, when the stream has ended."""
        shown, self._held = self._held, ""
        return self.text(shown) if shown else ""


_NOTHING = Redactor()


def _forms(value: str) -> set[str]:
    """Return a value as it may stand in texts: as it is, in URLs, in JSON, in base64."""
    stripped = value.strip()
    # In the database some characters cannot be kept.
    found = {value, stripped, clean_text(value), quote(value, safe=""), quote(value), quote_plus(value)}
    found.add(quote(value, safe=_URL_SAFE))
    for _ in range(2):  # JSON in JSON too, as errors often are.
        found |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in found for ascii_only in (True, False)}
    found |= set(_base64_forms(stripped.encode("utf-8", "surrogatepass")))
    return {form for form in found if len(form) >= _MIN_CHARS}


def _base64_forms(value: bytes) -> Iterator[str]:
    """Return the middle of every base64 text that `value` is a part of, e.g. of user:password."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + value).decode().rstrip("=")
        # The first and last digits also hold bits of what stands beside it.
        middle = text[-(-before * 8 // 6) : -1 if (before + len(value)) % 3 else None]
        yield middle
        yield middle.translate(str.maketrans("+/", "-_"))
