"""Where a repository is, and how much of it is taken; known without what reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_PACK_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A branch of a repository, and the credential for it, if it needs one."""

    url: str
    branch: str
    username: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def ref(self) -> bytes:
        """The full name of the branch."""
        return f"refs/heads/{self.branch}".encode()
