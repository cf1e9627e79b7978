"""When a cron rule fires, in a time zone: pure functions of the rule, the zone and a time, on cronsim.

Rules have five fields (minute, hour, day of month, month, day of week) or six (seconds in front), as cronsim reads
them: lists, ranges, steps, names (MON, JAN), `L` and `LW` as the day, `5L` and `MON#2` as the weekday. When the day
of month and the weekday are both given and neither starts with `*`, either is enough.

Where clocks change, this is Debian's cron (`man 8 cron`):

- A rule of five fields whose minute and hour both do not start with `*` names set times. A time that the clocks skip
  comes at the first moment after the gap, and a time that they show twice comes the first time only.
- Every other rule goes by the wall clock: it fires whenever a clock on the wall shows what it says, so not at all for
  times that are skipped and twice for times that are shown twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def fire_times(cron: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield the times in UTC, later than `after` and rising, at which the rule fires.

    Ends when there is none within fifty years.

    Raises:
        CronSimError: with the first time asked for: the rule cannot be read, or names a day that no month has.
    """
    after = after.astimezone(UTC).replace(microsecond=0)
    fields = cron.split()
    if len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*"):
        return _at_set_times(cron, zone, after)
    return _by_the_wall_clock(cron, zone, after)


def _at_set_times(cron: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    for local in CronSim(cron, after.astimezone(zone)):
        at = local.astimezone(UTC)
        # In the second pass of an hour that is shown twice, cronsim begins with the times of the first.
        if at > after:
            yield at
            after = at


def _by_the_wall_clock(cron: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    # Between two changes of the clocks local time is plain arithmetic. cronsim is only asked about that: across a
    # change of half an hour (Australia/Lord_Howe) its steps of whole hours lose the times before the next half.
    change: datetime | None = after
    while change is not None:
        known, change = change, None
        offset = _offset(zone, known + _SECOND)
        for local in CronSim(cron, (known + offset).replace(tzinfo=None)):
            at = (local - offset).replace(tzinfo=UTC)
            change = _last_second_of(zone, offset, known, at)
            if change is not None:
                break
            yield at
            known = at


def _last_second_of(zone: tzinfo, offset: timedelta, since: datetime, until: datetime) -> datetime | None:
    """Return the last second of the offset that is in force right after `since`; None when it lasts beyond `until`.

    Looks once a day, since clocks do not change twice in one.
    """
    while since < until:
        probe = min(since + _DAY, until)
        if _offset(zone, probe) == offset:
            since = probe
            continue
        while probe - since > _SECOND:
            middle = since + timedelta(seconds=(probe - since) // _SECOND // 2)
            if _offset(zone, middle) == offset:
                since = middle
            else:
                probe = middle
        return since
    return None


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    if offset is None:
        raise ValueError(f"{zone} is no time zone")
    return offset
