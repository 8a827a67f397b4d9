"""iCalendar text read with what is wrong in it: that costs its own property or component, and nothing else.

The `icalendar` library refuses a whole calendar for one bad line outside of events, and remembers each VTIMEZONE by
name for every calendar that it reads later; RFC 5545 section 3.8.3.1: a TZID means something in its own calendar only.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, ComponentFactory
from icalendar.parser import Contentline
from icalendar.parser.ical.component import ComponentIcalParser
from icalendar.prop import vBroken
from icalendar.timezone import tzp

from domain.providers.charset import read_text
from domain.providers.contract import ProviderFailure
from infra.providers._kit.recurrence import zone_name
from infra.providers.ical.zone_limits import CHANGES_OF_CALENDAR_AT_MOST, changes_of

#: What the library raises for text that is no calendar.
_ODD = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)
# What follows the line ends may be missing: else it would be looked for from each of them to the last.
_FOLD = re.compile(rb"((?:\r?\n)+)([ \t])?")
_WIDE = re.compile(
    rb"^(?:\xff\xfe|\xfe\xff|\x00\x00\xfe\xff)|charset\s*=\s*[\"']?utf-?(?:16|32)", re.IGNORECASE
)
#: A property whose value is quoted-printable (vCalendar 1.0), up to the value; and the most characters of that.
_QUOTED = re.compile(
    r"(?P<name>[\w-]+)(?P<parameters>(?:;[^:;\"]*(?:\"[^\"]*\")?)*;(?:ENCODING=)?QUOTED-PRINTABLE(?:;[^:]*)?):",
    re.IGNORECASE,
)
_QUOTED_HEAD_MAX = 500
_LINE_END = re.compile(r"\r?\n")
_QUOTING = re.compile(r";(?:ENCODING=)?QUOTED-PRINTABLE|;CHARSET=[^;:]*", re.IGNORECASE)
_CHARSET = re.compile(r";CHARSET=\"?([^;:\"]+)", re.IGNORECASE)
#: Components that stand in a calendar side by side: one without an end ends where the next begins.
_SIDE_BY_SIDE = frozenset(("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE"))
#: Components of one text, and of those that stand in one another: an alarm stands in an event in a calendar.
COMPONENTS_AT_MOST = 50_000
LEVELS_AT_MOST = 10


def unfolded(body: bytes, content_type: str = "") -> str:
    """Return the text with its lines whole; a fold may stand within a letter (RFC 5545 section 3.1)."""
    if _WIDE.search(body[:4]) or _WIDE.search(content_type.encode("utf-8", "replace")):
        return read_text(body, content_type)
    return read_text(_FOLD.sub(_joined, body), content_type)


def _joined(ends: re.Match[bytes]) -> bytes:
    return b"" if ends[2] else ends[1]


def calendars_in(body: bytes) -> list[Any]:
    """Return the calendars of a text.

    Raises ProviderFailure (malformed) when there is none, or one has no end, too many components, or too deep ones."""
    text = unfolded(body)
    if text.upper().count("BEGIN:") > COMPONENTS_AT_MOST:
        detail = f"The calendar has more than {COMPONENTS_AT_MOST:,} components."
        raise ProviderFailure("malformed", detail, is_lasting=True)
    # As the library makes them, but for its search for folds, which takes the square of the line ends.
    lines = list(map(Contentline, (*filter(None, _without_quoting(text)), "")))
    # A factory of its own: the library's remembers every name of a component that it was ever shown.
    parser = _Parser(lines, ComponentFactory(), Calendar.types_factory)
    try:
        components = parser.parse()
    except _TooDeep:
        detail = f"The calendar has components within more than {LEVELS_AT_MOST} others."
        raise ProviderFailure("malformed", detail, is_lasting=True) from None
    except _ODD:
        components = []
    finally:
        tzp.use_default()  # which forgets the names of zones that were asked for
    calendars = [component for component in components if component.name == "VCALENDAR"]
    if not calendars or parser.component is not None:
        raise ProviderFailure("malformed", "The calendar cannot be read.")
    return calendars


def _without_quoting(text: str) -> Sequence[str]:
    """Return the lines with values that are quoted-printable written out, as calendars before RFC 5545 have them.

    A value goes on in the next line where a line ends with `=`."""
    given = _LINE_END.split(text)
    if "QUOTED-PRINTABLE" not in text.upper():
        return given
    lines: list[str] = []
    waiting = iter(given)
    for line in waiting:
        quoted = _QUOTED.match(line[:_QUOTED_HEAD_MAX])
        if quoted is None:
            lines.append(line)
            continue
        parts = [line[quoted.end() :]]
        while parts[-1].endswith("=") and (more := next(waiting, None)) is not None:
            parts[-1] = parts[-1][:-1]
            parts.append(more)
        lines.append(_written_out(quoted, "".join(parts)))
    return lines


def _written_out(quoted: re.Match[str], written: str) -> str:
    charset = _CHARSET.search(quoted["parameters"])
    value = quopri.decodestring(written.removesuffix("=").encode())
    text = read_text(value, f"charset={charset[1]}" if charset else "")
    for plain, escaped in (("\\", "\\\\"), (",", "\\,"), (";", "\\;"), ("\r\n", "\\n"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f"{quoted['name']}{_QUOTING.sub('', quoted['parameters'])}:{text}"


class Zones:
    """The time zones of one calendar. Times without one are in X-WR-TIMEZONE, which the large calendars write."""

    def __init__(self, calendar: Any) -> None:
        self._defined = {_cleaned(zone.get("TZID")): zone for zone in calendar.walk("VTIMEZONE")}
        self._made: dict[str, tzinfo | None] = {}
        self._changes_left = CHANGES_OF_CALENDAR_AT_MOST
        try:
            self.default: tzinfo = ZoneInfo(str(calendar.get("X-WR-TIMEZONE") or "UTC"))
        except (ValueError, OSError, KeyError):
            self.default = UTC

    def located(self, value: Any) -> date:
        """Return the day, or the moment with its zone, of a property. Raises ValueError for a zone nobody knows."""
        return self._placed(value.dt, value.params.get("TZID"))

    def each_located(self, values: Any) -> list[date]:
        """Return those of a list of days or moments, such as an EXDATE, that can be read."""
        found = []
        for value in getattr(values, "dts", ()):
            try:
                found.append(self._placed(value.dt, values.params.get("TZID")))
            except _ODD:
                continue
        return found

    def name_of(self, value: Any) -> str | None:
        """Return the name of the zone that a property's moment is meant in; None for a day, or a moment in UTC."""
        found, name = value.dt, value.params.get("TZID")
        if not isinstance(found, datetime) or (found.tzinfo is not None and not name):
            return None
        if not name:
            return zone_name(str(self.default)) if str(self.default) != "UTC" else None
        defined = self._defined.get(_cleaned(name))
        place = str(defined.get("X-LIC-LOCATION") or "") if defined is not None else ""
        known = zone_name(_cleaned(name))
        return known if known != _cleaned(name) or not place else place

    def _placed(self, found: date, name: Any) -> date:
        if not isinstance(found, datetime) or found.tzinfo is not None:
            return found
        zone = self._own(_cleaned(name)) if name else self.default
        if zone is None:
            raise ValueError("a time zone that is not known")
        return found.replace(tzinfo=zone)

    def _own(self, name: str) -> tzinfo | None:
        if name not in self._made:
            component = self._defined.get(name)
            self._made[name] = self._zone_of(component) if component is not None else None
        return self._made[name]

    def _zone_of(self, component: Any) -> tzinfo | None:
        try:
            self._changes_left -= changes_of(component)
            if self._changes_left < 0:
                return None
            zone: tzinfo = component.to_tz(lookup_tzid=False)
            datetime(2026, 1, 1, tzinfo=zone).astimezone(UTC)
        except _ODD:
            return None
        return zone


def _cleaned(name: Any) -> str:
    return str(name or "").strip("/")


class _TooDeep(Exception):
    """A calendar whose components stand in too many others."""


class _Parser(ComponentIcalParser):
    """The library's parser without its refusals and without its memory for time zones."""

    def handle_line_parse_error(self, exception: Exception) -> None:
        if self.component is not None:
            self.component.errors.append((None, str(exception)))

    def handle_begin_component(self, vals: str) -> None:
        if vals.strip().upper() in _SIDE_BY_SIDE:
            self._close(lambda: len(self._stack) == 1)
        if len(self._stack) >= LEVELS_AT_MOST:
            raise _TooDeep
        super().handle_begin_component(vals.strip())

    def handle_end_component(self, vals: str) -> None:
        name = vals.strip().upper()
        if all(component.name != name for component in self._stack):
            return
        self._close(lambda: self._stack[-1].name == name)
        component = self._stack.pop()
        (self._stack[-1].subcomponents if self._stack else self._components).append(component)

    def handle_property(self, name: str, params: Any, vals: str, line: Any) -> None:
        if self.component is None:  # text around the calendar
            return
        try:
            super().handle_property(name, params, vals, line)
        except _ODD as error:
            self.handle_property_parse_error(error, name, params, vals, line)

    def handle_property_parse_error(  # noqa: PLR0917 - the library's signature
        self,
        exception: Exception,
        name: str,
        params: Any,
        val: str,
        line: Any,
    ) -> None:
        told = ValueError(str(exception))
        broken = vBroken.from_parse_error(
            raw_value=val, params=params, property_name=name, expected_type="unknown", error=told
        )
        assert self.component is not None
        self.component.errors.append((name, str(exception)))
        self.component.add(name, broken, encode=False)

    def _close(self, is_closed: Callable[[], bool]) -> None:
        while self._stack and not is_closed():
            component = self._stack.pop()
            if self._stack:
                self._stack[-1].subcomponents.append(component)
