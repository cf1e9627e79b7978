"""A second reading of cron for tests: walks every minute and looks at it, with a matcher and clocks of its own.

Knows numbers, lists, ranges and steps. Times that a rule names (minute and hour both without `*`) are mapped as
Debian's cron does: out of a gap to its end, of two equal ones the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
LOW_HIGH = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@dataclass(frozen=True)
class Rule:
    """A cron rule of five fields, each as the values that it allows."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    names_set_times: bool

    @classmethod
    def read(cls, cron: str) -> Rule:
        fields = cron.split()
        sets = [values(field, *span) for field, span in zip(fields, LOW_HIGH, strict=True)]
        starred = [field.startswith("*") for field in fields]
        return cls(
            minutes=sets[0],
            hours=sets[1],
            days=sets[2],
            months=sets[3],
            weekdays=sets[4],
            either_day=not starred[2] and not starred[4],
            names_set_times=not starred[0] and not starred[1],
        )

    def matches(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day = local.day in self.days
        weekday = local.isoweekday() in self.weekdays or local.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.either_day else (day and weekday)


def values(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        start = low if span == "*" else int(first)
        end = int(last) if last else high if span == "*" or step else start
        found |= set(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def walk(cron: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Return the times in UTC in (after, until] at which the rule fires; both are whole minutes."""
    rule = Rule.read(cron)
    if not rule.names_set_times:
        minutes = [after + MINUTE * n for n in range(1, (until - after) // MINUTE + 1)]
        return [at for at in minutes if rule.matches(at.astimezone(zone))]
    # By the wall clock's own reckoning, from well before to well after.
    local = after.astimezone(zone).replace(tzinfo=None) - timedelta(hours=4)
    found: set[datetime] = set()
    while local <= until.astimezone(zone).replace(tzinfo=None) + timedelta(hours=4):
        if rule.matches(local):
            found.add(first_moment(local, zone))
        local += MINUTE
    return sorted(at for at in found if after < at <= until)


def first_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when a clock first shows this, or the end of the gap that it falls into."""
    shown = local
    while True:
        at = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == shown:
            return at
        shown += MINUTE
