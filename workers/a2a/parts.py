"""What a message of a client asks for: its parts as prompt and params of a task, or as the answer to a question."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from a2a.types import Message, Part
from a2a.utils.errors import ContentTypeNotSupportedError
from google.protobuf.json_format import MessageToDict

from workers.a2a.caller import Caller
from workers.a2a.failures import invalid

_MOST_PARTS = 100
_CONTEXTS = uuid.UUID("0d2c9a52-6c0e-4f0e-9d4c-6a2f8f6f6a2a")  # A namespace of our own.


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message says: `texts` joined by blank lines, and the one data part, None when there is none."""

    text: str
    data: Any

    def prompt(self) -> str:
        """Return the prompt of a new task: the text, else the data's own "prompt", else the data."""
        if self.text.strip() or self.data is None:
            return self.text
        if isinstance(self.data, dict) and isinstance(self.data.get("prompt"), str):
            return str(self.data["prompt"])
        return json.dumps(self.data, ensure_ascii=False)

    def params(self) -> dict[str, Any]:
        """Return the params of a new task.

        Raises:
            InvalidParamsError: the data part is no object.
        """
        if self.data is None:
            return {}
        if not isinstance(self.data, dict):
            raise invalid("message.parts", "has a data part that is no object.", "Send an object: it is the input.")
        return self.data


def read_parts(message: Message) -> Asked:
    """Read the parts of a message.

    Raises:
        InvalidParamsError: there is nothing to read, or more than is read.
        ContentTypeNotSupportedError: a part is a file.
    """
    if not message.parts:
        raise invalid("message.parts", "is empty.", "Send a text part that says what to do.")
    if len(message.parts) > _MOST_PARTS:
        raise invalid("message.parts", f"has {len(message.parts)} parts.", f"Send at most {_MOST_PARTS}.")
    kinds = [part.WhichOneof("content") for part in message.parts]
    if {"raw", "url"} & set(kinds):
        raise ContentTypeNotSupportedError(
            "Files are not taken.",
            data={"reason": "file_part", "hint": "Send a file's text as a text part, or its address within the text."},
        )
    data = [_plain(part) for part, kind in zip(message.parts, kinds, strict=True) if kind == "data"]
    if len(data) > 1:
        raise invalid("message.parts", f"has {len(data)} data parts.", "Put all input into one object.")
    return Asked("\n\n".join(_texts(message.parts)), data[0] if data else None)


def _texts(parts: Iterable[Part]) -> list[str]:
    return [part.text for part in parts if part.WhichOneof("content") == "text"]


def _plain(part: Part) -> Any:
    return _whole(MessageToDict(part.data))


def _whole(value: Any) -> Any:
    """Return JSON with whole numbers as such: protobuf knows floats only, and 3.0 is not what the client wrote."""
    match value:
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer() and abs(value) <= 2**53:
            return int(value)
    return value


def message_key(caller: Caller, message: Message) -> str:
    """Return the idempotency key of a message: of this user, to this agent. Ids may be of any length and kind."""
    digest = hashlib.sha256(f"{caller.agent}\0{message.message_id}".encode()).hexdigest()
    return f"a2a:{caller.user_id}:{digest}"


def new_context_id(caller: Caller, message: Message) -> str:
    """Return the id of the conversation that a message begins: the same when the message is sent again."""
    return str(uuid.uuid5(_CONTEXTS, f"{caller.organization}\0{message_key(caller, message)}"))


def is_uuid(text: str) -> bool:
    """Return whether a text is a uuid as Postgres prints one; other ids name nothing here."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
