"""One connection over HTTP/1.1: an asyncio protocol over httptools' parser.

The status decides. Once a status line came, whatever is wrong with the rest is a flaw that is told with the answer:
- the parser is strict first. What it refuses is read again: the header lines that can be read are put in order
  (`_read_head`) and parsed with every leniency httptools has;
- a head or body that does not come in time, or is longer than its bound, is given up with its connection.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from infra.outbound.content import undo_codings
from infra.outbound.failures import ExchangeFailed
from infra.outbound.request import OutboundRequest

HEAD_BYTES_MAX: Final = 64 * 1024
_UNDONE_HERE_BYTES: Final = 64 * 1024
_KEPT_RAW_BYTES: Final = 2 * HEAD_BYTES_MAX  # how much can be read again leniently
# Below the 5 s after which common servers (Node.js, uvicorn) close an idle connection, unless the server says more.
_IDLE_SECONDS: Final = 4.0
_IDLE_SECONDS_MAX: Final = 60.0
# A connection is let go this long before the server closes it, for the time that a packet takes.
_IDLE_MARGIN_SECONDS: Final = 0.5

_STATUS_LINE = re.compile(rb"\s*HTTP/\d{1,2}(?:\.\d{1,2})?[ \t]+([1-9]\d\d)(?!\d)[^\r\n]*", re.IGNORECASE)
_MAY_BECOME_ONE = re.compile(rb"\s*(?:H|HT|HTT|HTTP|HTTP/[\d.]*[ \t]*\d{0,3})?", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_KEEP_ALIVE = re.compile(r"\btimeout\s*=\s*\"?(\d{1,6})", re.IGNORECASE)

_Fields = list[tuple[bytes, bytes]]


class ConnectionBroke(ExchangeFailed):
    """A connection ended before any byte of the answer came."""

    def __init__(self) -> None:
        super().__init__("protocol", "The server closed the connection without a complete answer")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came.

    - `flaw` says what was wrong with it; `whole` is false when part of the body within its bounds is missing.
    - `is_cut`: there was more of the body beyond its bounds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    flaw: str | None
    whole: bool
    is_cut: bool


class HttpConnection(asyncio.Protocol):
    """One connection. It carries one exchange at a time; `idle_until` is set while it carries none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_closed = False
        self.idle_until = 0.0

    async def exchange(self, message: bytes, request: OutboundRequest, deadline: float) -> Answer:
        """Send `message`, and return the answer to it. Raises ExchangeFailed, TimeoutError, ssl.SSLError."""
        if self._transport is None or self.is_closed:
            raise ConnectionBroke
        self._begin(request, deadline)
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_at(deadline, self._give_up)
        try:
            self._transport.write(message)
            await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._timer.cancel()
            self._waiter = self._timer = None
        if not self._keeps or self._transport.get_write_buffer_size():
            self.abort()
        return await self._undone(self._answer())

    async def _undone(self, answer: Answer) -> Answer:
        """Return the answer with its codings undone; what may become large is no work for the event loop."""
        headers = answer.headers
        codings = headers["content-encoding"].split(",") if "content-encoding" in headers else []
        if "transfer-encoding" in headers:
            codings += [
                coding
                for coding in headers["transfer-encoding"].split(",")
                if coding.strip().lower() != "chunked"
            ]
        if not codings or not answer.body:
            return answer
        most = min(self._undone_limit, self._limit)
        if max(most, len(answer.body)) <= _UNDONE_HERE_BYTES:
            undone = undo_codings(answer.body, codings, most)
        else:
            undone = await asyncio.to_thread(undo_codings, answer.body, codings, most)
        return replace(
            answer,
            body=undone.body,
            flaw=answer.flaw or undone.flaw,
            whole=answer.whole and undone.whole,
            is_cut=answer.is_cut or undone.is_cut,
        )

    def abort(self) -> None:
        """Close at once, without TLS's farewell."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def _begin(self, request: OutboundRequest, deadline: float) -> None:
        self._limit = request.max_response_bytes
        self._undone_limit = request.max_undone_bytes
        self._body_seconds = request.body_seconds
        self._deadline = deadline
        self._is_head = request.method == "HEAD"
        self._parser = HttpResponseParser(self)
        self._raw: list[bytes] | None = []
        self._raw_size = 0
        self._fields: _Fields = []
        self._body = bytearray()
        self._status = 0
        self._flaw: str | None = None
        self._is_first = True
        self._is_lenient = self._is_repairing = False
        self._head_done = self._interim = self._ended = self._stray = self._bounded = False
        self._whole = True
        self._is_cut = False
        self._keeps = False

    # -- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nothing was asked: these bytes must not be taken for the next answer
            return
        self._is_first = False
        if not self._head_done:
            room = HEAD_BYTES_MAX - self._raw_size
            self._feed(data[:room])
            if not self._head_done and not self._ended and len(data) >= room:
                self._stop("The headers are longer than 64 KiB")
            elif len(data) > room and not self._ended:
                self._feed(data[room:])
        else:
            self._feed(data)
        if self._ended:
            self._finish()
        elif not self._bounded and self._status_came():
            self._bounded = True
            self._bound_the_rest()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._end(exc)

    # -- the parser's callbacks -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._ended:
            self._stray = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done and not self._is_lenient:  # else a trailer, or read already
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            self._interim = True
            self._fields.clear()
            return
        self._status = status
        self._keeps = self._parser.should_keep_alive() and not self._is_lenient
        self._head_done = True
        if self._is_head or status == 101:
            self._ended = True
            self._keeps = self._keeps and status != 101

    def on_body(self, body: bytes) -> None:
        if self._ended or not self._head_done:
            return
        room = self._limit - len(self._body)
        if len(body) > room:
            self._body += body[:room]
            self._is_cut = True
            self._stop(f"The body is longer than the {self._limit} bytes that are read of it", whole=True)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._head_done:
            self._ended = True

    # -- one answer -----------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        self._raw_size += len(data)
        if self._raw is not None:
            if self._raw_size <= _KEPT_RAW_BYTES:
                self._raw.append(data)
            else:
                self._raw = None
        if self._is_repairing:
            self._repair(at_end=False)
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError:
            if self._ended:
                self._stray = True
            else:
                self._misread()
        if self._stray:
            self._flaw = self._flaw or "More bytes came than the answer announced"
            self._keeps = False

    def _misread(self) -> None:
        """Go on after what the parser refused: leniently from the start, or with what there is."""
        self._flaw = self._flaw or (
            "The body is not framed as HTTP asks" if self._head_done else "The headers are not valid HTTP"
        )
        if self._is_lenient or self._raw is None:
            self._stop(self._flaw)
            return
        self._is_repairing = True
        self._repair(at_end=False)

    def _repair(self, *, at_end: bool) -> None:
        raw = b"".join(self._raw or ())
        head = _read_head(raw)
        if head is None:
            if at_end or not _could_still_come(raw):
                self._fail(
                    ConnectionBroke()
                    if self.idle_until
                    else ExchangeFailed("protocol", "The answer is not valid HTTP")
                )
            return
        self._status, self._fields = head.status, head.fields
        if head.end is None:
            if at_end:
                self._stop("The answer ended within its headers")
            return
        self._is_repairing, self._is_lenient, self._head_done = False, True, False
        self._body.clear()
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(*[True] * 10)
        try:
            self._parser.feed_data(head.in_order() + raw[head.end :])
        except HttpParserUpgrade:
            pass
        except HttpParserError:
            if not self._ended:
                self._misread()

    def _status_came(self) -> bool:
        """Tell whether a final status line came; what follows it has a bound of its own."""
        if not self._head_done and not self._status:
            head = _read_head(b"".join(self._raw or ()))
            if head is None:
                return False
            self._status = head.status
        return True

    def _bound_the_rest(self) -> None:
        until = min(self._deadline, self._loop.time() + self._body_seconds)
        if until < self._deadline and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(until, self._give_up)

    def _give_up(self) -> None:
        """End the wait: with the status, where it came, else by a timeout."""
        if self._waiter is None or self._waiter.done():
            return
        if not self._head_done:
            self._salvage()
        if self._status:
            part = "body" if self._head_done else "headers"
            self._stop(f"The {part} did not come in time")
            self._finish()
        else:
            self._fail(TimeoutError())

    def _end(self, error: Exception | None) -> None:
        """Take the end of the connection: of the answer, when nothing else says where that ends."""
        self.is_closed = True
        if self._waiter is None or self._waiter.done():
            return
        self._keeps = False
        if self._is_first:
            self._fail(error if isinstance(error, ssl.SSLError) else ConnectionBroke())
            return
        if self._head_done:
            if error is not None or self._announces_its_end():
                self._stop("The body ended before it was complete")
            self._ended = True
        else:
            self._salvage()
            if not self._status:
                self._fail(ExchangeFailed("protocol", "The answer ended before it was complete"))
                return
            self._stop("The answer ended within its headers")
        self._finish()

    def _salvage(self) -> None:
        """Read status and headers of a head that will not come whole."""
        head = _read_head(b"".join(self._raw or ()))
        if head is not None:
            self._status, self._fields = head.status, head.fields

    def _announces_its_end(self) -> bool:
        names = {name.lower() for name, _ in self._fields}
        if self._is_lenient:
            framing = _framing(self._fields)
            return bool(framing)
        chunked = any(
            name.lower() == b"transfer-encoding" and value.lower().rstrip().endswith(b"chunked")
            for name, value in self._fields
        )
        return chunked or (b"content-length" in names and b"transfer-encoding" not in names)

    def _stop(self, flaw: str, *, whole: bool = False) -> None:
        self._flaw = self._flaw or flaw
        self._ended, self._whole, self._keeps = True, whole, False
        if not self._status:
            self._salvage()

    def _finish(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._status:
            self._waiter.set_result(None)
        else:
            self._fail(ExchangeFailed("protocol", "The answer is not valid HTTP"))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _answer(self) -> Answer:
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._fields:
            name, value = _text(raw_name).lower(), _text(raw_value)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._set_idle(headers)
        return Answer(self._status, headers, bytes(self._body), self._flaw, self._whole, self._is_cut)

    def _set_idle(self, headers: Mapping[str, str]) -> None:
        seconds = _IDLE_SECONDS
        said = _KEEP_ALIVE.search(headers["keep-alive"]) if "keep-alive" in headers else None
        if said is not None:
            seconds = min(float(said[1]) - _IDLE_MARGIN_SECONDS, _IDLE_SECONDS_MAX)
        self.idle_until = self._loop.time() + seconds
        if seconds <= 0:
            self.abort()


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    fields: _Fields
    end: int | None  # where the body begins; None while the head is not whole

    def in_order(self) -> bytes:
        """Return the head as a parser takes it: what frames the body, and no more."""
        lines = [b"HTTP/1.1 %d X" % self.status, *_framing(self.fields), b"Connection: close"]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _read_head(raw: bytes) -> _Head | None:
    """Read the final status line and the header lines that can be read; None while there is no such line."""
    position = 0
    while True:
        line = _STATUS_LINE.match(raw, position)
        if line is None:
            return None
        end = _END_OF_HEAD.search(raw, line.end())
        status = int(line[1])
        if status >= 200 or status == 101:
            return _Head(
                status,
                _fields(raw[line.end() : end.start() if end else len(raw)]),
                end.end() if end else None,
            )
        if end is None:
            return None
        position = end.end()


def _could_still_come(raw: bytes) -> bool:
    """Tell whether more bytes can make a status line of these; interim answers may come before it."""
    position = 0
    while (line := _STATUS_LINE.match(raw, position)) is not None:
        end = _END_OF_HEAD.search(raw, line.end())
        if end is None:
            return True
        position = end.end()
    return _MAY_BECOME_ONE.fullmatch(raw, position) is not None


def _fields(block: bytes) -> _Fields:
    found: _Fields = []
    for line in _LINE_END.split(block):
        if line[:1] in (b" ", b"\t") and found:  # folded (RFC 9112 section 5.2)
            name, value = found[-1]
            found[-1] = (name, value + b" " + _CONTROL.sub(b"", line).strip())
            continue
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and _NAME.fullmatch(name):
            found.append((name, _CONTROL.sub(b"", value).strip()))
    return found


def _framing(fields: _Fields) -> list[bytes]:
    """Return the header that says where the body ends; none where nothing sensible does."""
    codings = b",".join(value for name, value in fields if name.lower() == b"transfer-encoding")
    if codings.lower().rstrip(b" \t,").endswith(b"chunked"):
        return [b"Transfer-Encoding: chunked"]
    lengths = {
        length.strip()
        for name, value in fields
        if name.lower() == b"content-length"
        for length in value.split(b",")
    }
    only = lengths.pop() if len(lengths) == 1 else b""
    return [b"Content-Length: " + only] if only.isdigit() and len(only) < 16 else []


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
