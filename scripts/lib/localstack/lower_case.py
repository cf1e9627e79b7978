"""Finds capital letters in SQL outside strings, comments and quoted names; function bodies are read too.

sqlfluff would take a dollar-quoted body for one string, and most of our SQL lies in such bodies.
"""

import re
import sys
from pathlib import Path

_IGNORED = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*\"""", re.DOTALL)


def capitals(text: str) -> list[tuple[int, str]]:
    """Line number and word, for each word with a capital letter."""
    bare = _IGNORED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    words = re.compile(r"\w*[A-Z]\w*")
    return [(number, word) for number, line in enumerate(bare.splitlines(), 1) for word in words.findall(line)]


def main() -> int:
    """Checks the .sql files below the folders given; the exit code is 1 when any has a capital."""
    files = [file for folder in sys.argv[1:] for file in sorted(Path(folder).rglob("*.sql"))]
    found = [f"{file}:{line}: {word}" for file in files for line, word in capitals(file.read_text())]
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
