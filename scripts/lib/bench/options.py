"""What the caller of a benchmark may choose."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """`quick`: a smoke run that only shows that the bench works. `minutes`: length of the parts that run at a rate."""

    quick: bool = False
    minutes: float | None = None

    def scale(self, whole: T, quick: T) -> T:
        """The size of something in the whole run, or in a quick one."""
        return quick if self.quick else whole
