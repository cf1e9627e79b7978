"""What a benchmark says: numbers with targets, as a table for people and JSON for machines."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

PAGE_WIDTH = 130  # Columns of the table where nobody says how wide the page is.


@dataclass(frozen=True)
class Result:
    """One number. `ok` is None where there is no target to reach."""

    name: str
    value: float
    unit: str
    target: str | None = None
    ok: bool | None = None


def at_most(name: str, value: float, unit: str, limit: float) -> Result:
    """A result that must not exceed its limit."""
    return Result(name, round(value, 3), unit, f"<= {limit:g}", value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Result:
    """A result that must reach its limit."""
    return Result(name, round(value, 3), unit, f">= {limit:g}", value >= limit)


def plain(name: str, value: float, unit: str) -> Result:
    """A result without a target."""
    return Result(name, round(value, 3), unit)


def percentile(values: Sequence[float], share: int) -> float:
    """The value that `share` percent of the values, of which there is one at least, do not exceed."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def show(bench: str, results: Sequence[Result], file: Path | None) -> bool:
    """Prints the table, writes {bench, results} to the file, and tells whether every target is reached."""
    table = Table(title=f"bench {bench} (Python {platform.python_version()})", title_justify="left")
    for column in ("name", "value", "unit", "target", "ok"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for result in results:
        mark = {True: "yes", False: "NO", None: ""}[result.ok]
        table.add_row(result.name, f"{result.value:,.3f}", result.unit, result.target or "", mark)
    console = Console()
    (console if console.is_terminal else Console(width=PAGE_WIDTH)).print(table)
    if file is not None:
        file.write_text(
            json.dumps({"bench": bench, "results": [asdict(result) for result in results]}, indent=2) + "\n"
        )
    return all(result.ok is not False for result in results)
