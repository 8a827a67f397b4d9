"""How much of an answer is read: at each bound, and one past it."""

import pytest

from domain.providers.contract import ProviderFailure
from infra.providers._kit.reading import CONTAINERS_AT_MOST, VALUES_AT_MOST, check_values
from infra.providers._kit.wire import ROWS_AT_MOST, items
from infra.providers.ical.events import parse_feed
from infra.providers.ical.reading import COMPONENTS_AT_MOST, LEVELS_AT_MOST, calendars_in
from infra.providers.ical.zone_limits import CHANGES_AT_MOST, OBSERVANCES_AT_MOST, changes_of

PERIOD = "BEGIN:STANDARD\r\nDTSTART:{0}T020000\r\n{1}\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\n"


@pytest.mark.parametrize("opening", [b"[", b"{"])
def test_values_are_counted_up_to_their_bound_and_no_further(opening: bytes) -> None:
    check_values(opening * CONTAINERS_AT_MOST)
    check_values(b"," * VALUES_AT_MOST)
    for body in (opening * (CONTAINERS_AT_MOST + 1), b"," * VALUES_AT_MOST + opening):
        with pytest.raises(ProviderFailure, match="500,000 lists and objects, or 4,000,000 values"):
            check_values(body)


def test_a_page_has_as_many_rows_as_allowed_and_no_more() -> None:
    assert len(items({"data": [0] * ROWS_AT_MOST}, "data")) == ROWS_AT_MOST
    with pytest.raises(ProviderFailure, match="a list data of more than 5,000"):
        items({"data": [0] * (ROWS_AT_MOST + 1)}, "data")


def test_a_calendar_has_as_many_components_as_allowed_and_no_more() -> None:
    most = "BEGIN:VCALENDAR\r\nX-A:" + "begin:" * (COMPONENTS_AT_MOST - 1)
    assert parse_feed(f"{most}\r\nEND:VCALENDAR\r\n".encode()) == []
    with pytest.raises(ProviderFailure, match="more than 50,000 components"):
        parse_feed(f"{most}begin:\r\nEND:VCALENDAR\r\n".encode())


def test_components_stand_in_as_many_others_as_allowed_and_no_more() -> None:
    def nested(levels: int) -> bytes:
        inner = "BEGIN:X\r\n" * levels + "END:X\r\n" * levels
        return f"BEGIN:VCALENDAR\r\n{inner}END:VCALENDAR\r\n".encode()

    assert len(calendars_in(nested(LEVELS_AT_MOST - 1))) == 1
    with pytest.raises(ProviderFailure, match="within more than 10 others"):
        calendars_in(nested(LEVELS_AT_MOST))


def zone(*periods: tuple[str, str]) -> object:
    inner = "".join(PERIOD.format(*period) for period in periods)
    text = f"BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\n{inner}END:VTIMEZONE\r\nEND:VCALENDAR\r\n"
    return calendars_in(text.encode())[0].walk("VTIMEZONE")[0]


@pytest.mark.parametrize(
    ("periods", "changes"),
    [
        ([("16010101", "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10")], 438),  # as Outlook writes it
        ([("20070311", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU")], 32),
        (
            [
                (
                    "19870405",
                    "RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=SU;BYMONTHDAY=1,2,3,4,5,6,7;UNTIL=20060402T030000Z",
                )
            ],
            100,
        ),
        ([("19700101", "RRULE:FREQ=YEARLY;COUNT=7")], 7),
        ([("19700101", "RDATE:19800406T020000,19810405T020000")], 3),
        ([("19700101", "COMMENT:for ever")], 1),
        ([("19700101", "RRULE:FREQ=YEARLY;COUNT=100")] * 20, 2_000),
    ],
)
def test_a_zone_changes_as_often_as_allowed_and_no_more(periods: list[tuple[str, str]], changes: int) -> None:
    assert changes_of(zone(*periods)) == changes <= CHANGES_AT_MOST


@pytest.mark.parametrize(
    "periods",
    [
        [("19700101", "RRULE:FREQ=YEARLY;COUNT=2001")],
        [("19700101", "RRULE:FREQ=YEARLY;COUNT=100")] * 20 + [("19700101", "COMMENT:one more")],
        [("00010101", "RRULE:FREQ=YEARLY")],
        [("19700101", "RRULE:FREQ=YEARLY;UNTIL=99991231T000000Z")],
        [("00010101", "RRULE:FREQ=YEARLY;COUNT=1;BYMONTH=2;BYMONTHDAY=30")],
        [("19700101", "RRULE:FREQ=YEARLY;BYDAY=SU")],
        [("19700101", "RRULE:FREQ=YEARLY;INTERVAL=0")],
        [("19700101", "RRULE:FREQ=YEARLY;INTERVAL=2")],
        [("19700101", "RRULE:FREQ=YEARLY;BYHOUR=1")],
        *(
            [("19700101", f"RRULE:FREQ={kind};COUNT=1")]
            for kind in ("SECONDLY", "MINUTELY", "HOURLY", "DAILY")
        ),
        [("19700101", "COMMENT:one more")] * (OBSERVANCES_AT_MOST + 1),
    ],
)
def test_a_zone_that_could_change_more_often_is_not_made(periods: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="a time zone"):
        changes_of(zone(*periods))
