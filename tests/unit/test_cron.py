"""workers.cron: what a rule means where clocks change, and that it agrees with a walk over every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.clock_walker import walk
from workers.cron import fire_times


def day(cron: str, zone: str, date: str) -> list[str]:
    """Return when the rule fires on one local day, as its clocks show it with the offset."""
    tz = ZoneInfo(zone)
    begin = datetime.fromisoformat(date).replace(tzinfo=tz)
    fired: list[str] = []
    for at in fire_times(cron, tz, begin - timedelta(seconds=1)):
        local = at.astimezone(tz)
        if local.date() != begin.date():
            break
        fired.append(local.strftime("%H:%M%z"))
    return fired


# Where clocks change ------------------------------------------------------------------------------------------------

SPRING = {"Europe/Vienna": "2025-03-30", "America/New_York": "2025-03-09", "Australia/Lord_Howe": "2025-10-05"}
LORD_HOWE_ONE_O_CLOCK = ("00+1100", "15+1100", "30+1100", "45+1100", "30+1030", "45+1030")
AUTUMN = {"Europe/Vienna": "2025-10-26", "America/New_York": "2025-11-02", "Australia/Lord_Howe": "2025-04-06"}


@pytest.mark.parametrize(
    ("zone", "cron", "fired"),
    [
        # 02:00 to 03:00 is skipped.
        ("Europe/Vienna", "30 2 * * *", ["03:00+0200"]),
        ("Europe/Vienna", "0,15,30 2 * * *", ["03:00+0200"]),
        ("Europe/Vienna", "30 2,3 * * *", ["03:00+0200", "03:30+0200"]),
        ("Europe/Vienna", "59 1 * * *", ["01:59+0100"]),
        (
            "Europe/Vienna",
            "*/20 1-3 * * *",
            [f"01:{m}+0100" for m in ("00", "20", "40")] + ["03:00+0200", "03:20+0200", "03:40+0200"],
        ),
        ("Europe/Vienna", "0 */2 * * *", ["00:00+0100", *(f"{h:02}:00+0200" for h in range(4, 24, 2))]),
        ("Europe/Vienna", "0 30 2 * * *", []),
        ("America/New_York", "30 2 * * *", ["03:00-0400"]),
        ("America/New_York", "30 * * * *", ["00:30-0500", "01:30-0500", *(f"{h:02}:30-0400" for h in range(3, 24))]),
        # 02:00 to 02:30 is skipped.
        ("Australia/Lord_Howe", "15 2 * * *", ["02:30+1100"]),
        ("Australia/Lord_Howe", "45 2 * * *", ["02:45+1100"]),
        ("Australia/Lord_Howe", "*/15 2 * * *", ["02:30+1100", "02:45+1100"]),
        ("Australia/Lord_Howe", "*/30 5 * * *", ["05:00+1100", "05:30+1100"]),
    ],
)
def test_in_spring_set_times_come_after_the_gap_and_the_others_only_when_shown(
    zone: str, cron: str, fired: list[str]
) -> None:
    assert day(cron, zone, SPRING[zone]) == fired


@pytest.mark.parametrize(
    ("zone", "cron", "fired"),
    [
        # 02:00 to 03:00 is shown twice.
        ("Europe/Vienna", "30 2 * * *", ["02:30+0200"]),
        ("Europe/Vienna", "30 1-3 * * *", ["01:30+0200", "02:30+0200", "03:30+0100"]),
        ("Europe/Vienna", "*/30 2 * * *", ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
        ("Europe/Vienna", "0 30 2 * * *", ["02:30+0200", "02:30+0100"]),
        ("America/New_York", "30 1 * * *", ["01:30-0400"]),
        ("America/New_York", "*/30 1 * * *", ["01:00-0400", "01:30-0400", "01:00-0500", "01:30-0500"]),
        # 01:30 to 02:00 is shown twice.
        ("Australia/Lord_Howe", "45 1 * * *", ["01:45+1100"]),
        ("Australia/Lord_Howe", "*/15 1 * * *", [f"01:{t}" for t in LORD_HOWE_ONE_O_CLOCK]),
        ("Australia/Lord_Howe", "0 */2 * * *", ["00:00+1100", *(f"{h:02}:00+1030" for h in range(2, 24, 2))]),
    ],
)  # fmt: skip
def test_in_autumn_set_times_come_once_and_the_others_as_often_as_shown(zone: str, cron: str, fired: list[str]) -> None:
    assert day(cron, zone, AUTUMN[zone]) == fired


def test_an_hour_of_every_year_that_is_shown_twice_and_nothing_else() -> None:
    zone = ZoneInfo("Europe/Vienna")
    times = list(islice(fire_times("*/30 2 26 10 *", zone, datetime(2025, 10, 26, 0, 45, tzinfo=UTC)), 4))
    assert [at.isoformat()[:16] for at in times] == [
        "2025-10-26T01:00",
        "2025-10-26T01:30",
        "2026-10-26T01:00",
        "2026-10-26T01:30",
    ]


def test_a_rule_computed_in_the_second_pass_does_not_go_back_to_the_first() -> None:
    second_pass = datetime(2025, 10, 26, 1, 10, tzinfo=UTC)  # 02:10 again
    first = next(fire_times("30 2 * * *", ZoneInfo("Europe/Vienna"), second_pass))
    assert first == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)


def test_a_zone_with_a_quarter_hour_and_no_changes() -> None:
    assert day("0 6,18 * * *", "Asia/Kathmandu", "2025-07-01") == ["06:00+0545", "18:00+0545"]
    assert next(fire_times("0 0 * * *", ZoneInfo("Asia/Kathmandu"), datetime(2025, 1, 1, tzinfo=UTC))) == datetime(
        2025, 1, 1, 18, 15, tzinfo=UTC
    )


def test_a_step_of_half_an_hour_is_why_rules_by_the_wall_clock_do_not_cross_a_change_in_cronsim() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    evening = datetime(2025, 4, 5, 22, 30, tzinfo=zone)
    theirs = [at.strftime("%H:%M") for at in islice(CronSim("0 */2 * * *", evening), 3)]
    ours = [at.astimezone(zone).strftime("%H:%M") for at in islice(fire_times("0 */2 * * *", zone, evening), 3)]
    assert theirs == ["00:00", "04:00", "06:00"], "cronsim is mended: workers.cron may ask it about every rule"
    assert ours == ["00:00", "02:00", "04:00"]


# What is a rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("* * * * *", "2025-01-01T00:01:00"),
        ("*/15 * * * * *", "2025-01-01T00:00:15"),
        ("0 0 L * *", "2025-01-31T00:00:00"),
        ("0 0 LW * *", "2025-01-31T00:00:00"),
        ("0 9 * * MON#2", "2025-01-13T09:00:00"),
        ("0 9 * * 5L", "2025-01-31T09:00:00"),
        ("0 9 13 * FRI", "2025-01-03T09:00:00"),
        ("0 9 29 feb *", "2028-02-29T09:00:00"),
        ("0 0 * 2 MON#5", "2044-02-29T00:00:00"),
    ],
)
def test_what_a_rule_may_say(cron: str, first: str) -> None:
    at = next(fire_times(cron, UTC, datetime(2025, 1, 1, tzinfo=UTC)))
    assert at.isoformat() == f"{first}+00:00"


@pytest.mark.parametrize("cron", ["60 * * * *", "* * * *", "@daily", "0 0 30 2 *", "0 0 31 4,6 *", ""])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna"])
def test_what_is_no_rule_is_an_error(cron: str, zone: str) -> None:
    with pytest.raises(CronSimError):
        next(fire_times(cron, ZoneInfo(zone), datetime(2025, 1, 1, tzinfo=UTC)))


def test_a_rule_without_a_time_ends() -> None:
    assert list(fire_times("* * */20 * 1L", ZoneInfo("Europe/Vienna"), datetime(2025, 1, 1, tzinfo=UTC))) == []


# Against the walk over every minute -----------------------------------------------------------------------------------

ZONES = (
    "UTC",
    "Europe/Vienna",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",  # skips midnight
    "Africa/Casablanca",  # goes back in spring
)
# Around a change of one of them, or anywhere.
STARTS = (
    *("2025-03-30T00:50", "2025-10-26T00:20", "2025-03-09T06:40", "2025-11-02T05:10", "2025-10-04T15:10"),
    *("2025-04-05T14:40", "2025-03-09T04:30", "2025-11-02T04:30", "2025-02-23T01:30", "2025-04-06T01:30"),
    *("1985-12-31T18:00", "2025-07-01T00:00", "2024-02-29T23:59"),
)


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    number = st.integers(low, high)
    kind = draw(st.sampled_from(["star", "star", "step", "number", "list", "range", "range step"]))
    if kind == "star":
        return "*"
    if kind == "step":
        return f"*/{draw(st.integers(1, high - low))}"
    if kind in {"number", "list"}:
        return ",".join(map(str, draw(st.lists(number, min_size=1, max_size=1 if kind == "number" else 4))))
    first = draw(st.integers(low, high - 1))
    last = draw(st.integers(first + 1, high))  # 7-7/2 is 7 in Debian, 7/2 in cronsim; nobody writes it
    return f"{first}-{last}" + (f"/{draw(st.integers(1, 12))}" if kind == "range step" else "")


RULES = st.tuples(
    fields(0, 59), st.one_of(fields(0, 4), fields(0, 23)), st.one_of(st.just("*"), fields(1, 31)),
    st.just("*"), st.one_of(st.just("*"), fields(0, 7)),
).map(" ".join)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(RULES, st.sampled_from(ZONES), st.sampled_from(STARTS), st.integers(-300, 300))
def test_rules_fire_as_a_walk_over_every_minute_says(cron: str, zone: str, start: str, shift: int) -> None:
    after = datetime.fromisoformat(start).replace(tzinfo=UTC) + timedelta(minutes=shift)
    until = after + timedelta(hours=30)
    expected = walk(cron, ZoneInfo(zone), after, until)
    found = list(islice(fire_times(cron, ZoneInfo(zone), after), len(expected) + 1))
    assert found[: len(expected)] == expected
    assert all(at > until for at in found[len(expected) :])


@settings(max_examples=100, deadline=None)
@given(RULES, st.sampled_from(ZONES), st.sampled_from(STARTS), st.integers(0, 20))
def test_a_rule_goes_on_from_each_of_its_times_as_if_it_had_never_stopped(
    cron: str, zone: str, start: str, skipped: int
) -> None:
    tz = ZoneInfo(zone)
    times = list(islice(fire_times(cron, tz, datetime.fromisoformat(start).replace(tzinfo=UTC)), skipped + 6))
    assert list(islice(fire_times(cron, tz, times[skipped]), 5)) == times[skipped + 1 :]
