"""The receiver kit: answers as servers write them, byte by byte, and what each must come to.

Every shape is sent over a raw socket. `pieces` are written one after another with a pause between them; then the
connection stays open where `stays`, else it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import brotli  # type: ignore[import-untyped]

from domain.webhooks.model import DeliveryStatus
from tests.worlds.outbound_servers import read_request


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer, and the delivery's status, code and attempts that it must lead to; `note` is part of the error."""

    pieces: tuple[bytes, ...]
    code: int | None
    status: DeliveryStatus = DeliveryStatus.Delivered
    attempts: int = 1
    note: str | None = None
    text: str | None = None
    stays: bool = False
    is_gone: bool = False
    pause: float = 0.01


@dataclass
class ShapeReceiver:
    """Serves one shape to every post on a loopback port and keeps the heads and bodies that came."""

    shape: Shape
    url: str = ""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self, path: str = "/hook") -> AsyncIterator[ShapeReceiver]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
        try:
            yield self
        finally:
            server.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.posts.append(await read_request(reader))
                for number, piece in enumerate(self.shape.pieces):
                    if number:
                        await asyncio.sleep(self.shape.pause)
                    writer.write(piece)
                    await writer.drain()
                if not self.shape.stays:
                    break
        writer.close()


def _crlf(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _with(body: bytes, *lines: str) -> bytes:
    return _crlf("HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}") + body


FAILED, RETRIED = DeliveryStatus.Failed, DeliveryStatus.Retrying
_BARE_DEFLATE = zlib.compressobj(wbits=-15)
_DEFLATED = _BARE_DEFLATE.compress(b"bare") + _BARE_DEFLATE.flush()
_HEADERS = "The headers are not valid HTTP"
_CUT = "The body ended before it was complete"
_LATE = "The body did not come in time"
_MORE = "More bytes came than the answer announced"
_FRAMED = "The body is not framed as HTTP asks"
_HEAD_ENDED = "The answer ended within its headers"

SHAPES: dict[str, Shape] = {
    # as they should be
    "plain": Shape((_with(b"ok"),), 200, text="ok", stays=True),
    "until close": Shape((_crlf("HTTP/1.1 200 OK") + b"ok",), 200, text="ok"),
    "HTTP/1.0": Shape((_crlf("HTTP/1.0 200 OK") + b"old",), 200, text="old"),
    "no reason": Shape((_crlf("HTTP/1.1 202", "Content-Length: 0"),), 202, stays=True),
    "chunked": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"2\r\nok\r\n", b"0\r\n\r\n"),
        200,
        text="ok",
        stays=True,
    ),
    "trailers": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"1;x=y\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n",),
        200,
        text="k",
        stays=True,
    ),
    "interim answers": Shape(
        (
            _crlf("HTTP/1.1 100 Continue"),
            _crlf("HTTP/1.1 103 Early Hints", "Link: </a>"),
            _crlf("HTTP/1.1 201 Created", "Content-Length: 0"),
        ),
        201,
        stays=True,
    ),
    "byte by byte": Shape(
        tuple(bytes([byte]) for byte in _with(b"ok")), 200, text="ok", stays=True, pause=0.001
    ),
    # the body
    "cut": Shape((_crlf("HTTP/1.1 200 OK", "Content-Length: 9") + b"part",), 200, note=_CUT, text="part"),
    "404 cut": Shape((_crlf("HTTP/1.1 404 No", "Content-Length: 9") + b"part",), 404, FAILED, note=_CUT),
    "410 cut": Shape(
        (_crlf("HTTP/1.1 410 Gone", "Content-Length: 9"),), 410, FAILED, note=_CUT, is_gone=True
    ),
    "500 cut": Shape((_crlf("HTTP/1.1 500 No", "Content-Length: 9"),), 500, RETRIED, note=_CUT),
    "chunks cut": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"5\r\nab",), 200, note=_CUT, text="ab"
    ),
    "never comes": Shape((_crlf("HTTP/1.1 200 OK", "Content-Length: 2"),), 200, note=_LATE, stays=True),
    "429 never comes": Shape(
        (_crlf("HTTP/1.1 429 Slow", "Content-Length: 2"),), 429, RETRIED, note=_LATE, stays=True
    ),
    "until a close that never comes": Shape(
        (_crlf("HTTP/1.1 200 OK") + b"ok",), 200, note=_LATE, text="ok", stays=True
    ),
    "a last chunk that never comes": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"2\r\nok\r\n",),
        200,
        note=_LATE,
        text="ok",
        stays=True,
    ),
    "long": Shape((_with(b"x" * 70_000),), 200, note="longer than the 65536 bytes", text="x" * 4096),
    "chunks that are none": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"zz\r\nnot a chunk\r\n",),
        200,
        note=_FRAMED,
        stays=True,
    ),
    "chunked in name only": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b'{"ok":true}',), 200, note=_FRAMED
    ),
    "chunk sizes with bare LF": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"2\nok\n0\n\n",),
        200,
        note=_FRAMED,
        text="ok",
        stays=True,
    ),
    "chunk with a long size": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"f" * 40 + b"\r\nx",), 200, note=_FRAMED
    ),
    # lengths
    "204 with a body": Shape((_crlf("HTTP/1.1 204 No Content") + b"OK",), 204, note=_MORE, stays=True),
    "204 with a last chunk": Shape(
        (_crlf("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked") + b"0\r\n\r\n",), 204, note=_MORE
    ),
    "204 with a length": Shape((_crlf("HTTP/1.1 204 No Content", "Content-Length: 5"),), 204, stays=True),
    "304 with a length": Shape((_crlf("HTTP/1.1 304 Same", "Content-Length: 5"),), 304, FAILED, stays=True),
    "length in characters": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: 4") + "café".encode(),), 200, note=_MORE, stays=True
    ),
    "length 0 and a body": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: 0") + b"ok",), 200, note=_MORE, stays=True
    ),
    "a second answer": Shape((_with(b"ok") + _with(b"again"),), 200, note=_MORE, text="ok", stays=True),
    "bytes after a close": Shape((_with(b"ok", "Connection: close") + b"!!",), 200, note=_MORE, text="ok"),
    "length that is no number": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: many") + b"ok",), 200, note=_HEADERS, text="ok"
    ),
    "negative length": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: -5") + b"ok",), 200, note=_HEADERS, text="ok"
    ),
    "length beyond all bounds": Shape(
        (_crlf("HTTP/1.1 200 OK", f"Content-Length: {'9' * 30}") + b"ok",), 200, note=_HEADERS, text="ok"
    ),
    "two lengths": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + b"ok",),
        200,
        note=_HEADERS,
        text="ok",
    ),
    "a length twice": Shape(
        (_crlf("HTTP/1.1 200 OK", "Content-Length: 2", "Content-Length: 2") + b"ok",),
        200,
        note=_HEADERS,
        text="ok",
        stays=True,
    ),
    "length and chunks": Shape(
        (
            _crlf("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked")
            + b"2\r\nok\r\n0\r\n\r\n",
        ),
        200,
        note=_HEADERS,
        text="ok",
        stays=True,
    ),
    "chunked twice": Shape(
        (_crlf("HTTP/1.1 200 OK", *["Transfer-Encoding: chunked"] * 2) + b"2\r\nok\r\n0\r\n\r\n",),
        200,
        text="ok",
    ),
    "transfer coding identity": Shape(
        (_crlf("HTTP/1.1 200 OK", "Transfer-Encoding: identity") + b"ok",), 200, text="ok"
    ),
    # the head
    "bare LF": Shape(
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",), 200, note=_HEADERS, text="ok", stays=True
    ),
    "bare LF and 404": Shape((b"HTTP/1.1 404 No\nContent-Length: 0\n\n",), 404, FAILED, note=_HEADERS),
    "bare LF, piece by piece": Shape(
        (b"HTTP/1.1 20", b"0 OK\nContent-", b"Length: 2\n", b"\no", b"k"),
        200,
        note=_HEADERS,
        text="ok",
        stays=True,
    ),
    "a line without a colon": Shape((_with(b"ok", "oops"),), 200, note=_HEADERS, text="ok", stays=True),
    "a blank before the colon": Shape((_with(b"ok", "X-A : b"),), 200, note=_HEADERS, text="ok", stays=True),
    "a name with a blank": Shape((_with(b"ok", "X A: b"),), 200, note=_HEADERS, text="ok", stays=True),
    "an empty name": Shape((_with(b"ok", ": b"),), 200, note=_HEADERS, text="ok", stays=True),
    "a NUL in a value": Shape((_with(b"ok", "X-A: b\0c"),), 200, note=_HEADERS, text="ok", stays=True),
    "Latin-1 in a value": Shape((_with(b"ok", "X-A: \xe9"),), 200, text="ok", stays=True),
    "a folded line": Shape((_with(b"ok", "X-A: b", "  c"),), 200, note=_HEADERS, text="ok", stays=True),
    "503 with a broken line": Shape(
        (_crlf("HTTP/1.1 503 No", "oops", "Retry-After: 120", "Content-Length: 0"),),
        503,
        RETRIED,
        note=_HEADERS,
    ),
    "HTTP/2 in the status line": Shape(
        (_crlf("HTTP/2 200", "Content-Length: 2") + b"ok",), 200, note=_HEADERS, text="ok", stays=True
    ),
    "HTTP/1.2": Shape((_crlf("HTTP/1.2 200 OK", "Content-Length: 0"),), 200, note=_HEADERS, stays=True),
    "lower case": Shape((_crlf("http/1.1 200 ok", "Content-Length: 0"),), 200, note=_HEADERS, stays=True),
    "two blanks before the status": Shape(
        (_crlf("HTTP/1.1  200 OK", "Content-Length: 0"),), 200, note=_HEADERS, stays=True
    ),
    "no blank before the reason": Shape(
        (_crlf("HTTP/1.1 200OK", "Content-Length: 0"),), 200, note=_HEADERS, stays=True
    ),
    "a blank line first": Shape((b"\r\n" + _with(b"ok"),), 200, text="ok", stays=True),
    "a blank first": Shape((b" " + _with(b"ok"),), 200, note=_HEADERS, text="ok", stays=True),
    "UTF-8 in the reason": Shape(
        ("HTTP/1.1 200 d'accord ✓\r\nContent-Length: 0\r\n\r\n".encode(),), 200, stays=True
    ),
    "head cut": Shape((b"HTTP/1.1 200 OK\r\nContent-Le",), 200, note=_HEAD_ENDED),
    "status line alone": Shape((b"HTTP/1.1 200 OK\r\n",), 200, note=_HEAD_ENDED),
    "410 in a head that is cut": Shape(
        (b"HTTP/1.1 410 Gone\r\nX",), 410, FAILED, note=_HEAD_ENDED, is_gone=True
    ),
    "head that never ends": Shape(
        (b"HTTP/1.1 200 OK\r\nX: ",), 200, note="The headers did not come in time", stays=True
    ),
    "head without bounds": Shape(
        (_crlf("HTTP/1.1 200 OK", "X: " + "x" * 100_000),), 200, note="The headers are longer than 64 KiB"
    ),
    "many headers": Shape((_with(b"ok", *[f"X-{n}: {n}" for n in range(2000)]),), 200, text="ok", stays=True),
    "switching protocols": Shape(
        (_crlf("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: websocket"),), 101, FAILED
    ),
    "a status of its own": Shape(
        (_crlf("HTTP/1.1 999 Denied", "Content-Length: 0"),), 999, RETRIED, stays=True
    ),
    "a redirect": Shape(
        (_crlf("HTTP/1.1 302 Found", "Location: /x", "Content-Length: 0"),),
        302,
        FAILED,
        note="Redirects are not followed",
    ),
    # codings and charsets
    "gzip": Shape(
        (_with(gzip.compress(b"zipped"), "Content-Encoding: gzip"),), 200, text="zipped", stays=True
    ),
    "deflate": Shape(
        (_with(zlib.compress(b"zlib"), "Content-Encoding: deflate"),), 200, text="zlib", stays=True
    ),
    "bare deflate": Shape((_with(_DEFLATED, "Content-Encoding: deflate"),), 200, text="bare", stays=True),
    "br": Shape((_with(brotli.compress(b"brotli"), "Content-Encoding: br"),), 200, text="brotli", stays=True),
    "two codings": Shape(
        (_with(gzip.compress(brotli.compress(b"both")), "Content-Encoding: br, gzip"),), 200, text="both"
    ),
    "a bomb": Shape(
        (_with(gzip.compress(b"\1" * 9_000_000), "Content-Encoding: gzip"),),
        200,
        note="undone to 4096 bytes",
        text="\1" * 4096,
    ),
    "gzip in name only": Shape(
        (_with(b"plain", "Content-Encoding: gzip"),), 200, note="gzip coding is broken", text=""
    ),
    "gzip cut": Shape(
        (_with(gzip.compress(b"zipped")[:-9], "Content-Encoding: gzip"),), 200, note="gzip coding is broken"
    ),
    "404 in br in name only": Shape(
        (_crlf("HTTP/1.1 404 No", "Content-Encoding: br", "Content-Length: 5") + b"plain",),
        404,
        FAILED,
        note="br coding is broken",
    ),
    "a coding that is not known": Shape(
        (_with(b"x", "Content-Encoding: zstd-x"),), 200, note="coding is not known", text="x"
    ),
    "Latin-1": Shape(
        (_with(b"caf\xe9", "Content-Type: text/plain; charset=ISO-8859-1"),), 200, text="café", stays=True
    ),
    "UTF-16": Shape(
        (_with("añb".encode("utf-16"), 'Content-Type: text/plain; charset="utf-16"'),), 200, text="añb"
    ),
    "a charset that is none": Shape((_with(b"ok", "Content-Type: text/plain; charset=hex"),), 200, text="ok"),
    "half a surrogate in UTF-7": Shape(
        (_with(b"a+2AA-b", "Content-Type: text/plain; charset=utf-7"),), 200, text="a\ufffdb"
    ),
    # no status line
    "nothing": Shape((b"",), None, RETRIED, note="protocol: "),
    "part of a status line": Shape((b"HTTP/1.1 2",), None, RETRIED, note="protocol: "),
    "an interim answer alone": Shape((_crlf("HTTP/1.1 100 Continue"),), None, RETRIED, note="protocol: "),
    "another protocol": Shape((b"SSH-2.0-OpenSSH_9.2\r\n",), None, RETRIED, note="protocol: "),
    "HTML without a head": Shape((b"<html>200</html>",), None, RETRIED, note="protocol: "),
}
