"""Changes one byte at a time and expects a signature check to notice each."""

from collections.abc import Awaitable, Callable, Iterator, Mapping

import pytest

from domain.providers.contract import SignatureRefused

Check = Callable[[Mapping[str, str], bytes], Awaitable[object]]


def changed_bytes(body: bytes) -> Iterator[bytes]:
    """Every byte with its lowest bit flipped, one byte missing, one more."""
    for position, byte in enumerate(body):
        yield body[:position] + bytes([byte ^ 1]) + body[position + 1 :]
    yield body[:-1]
    yield body + b" "


def changed_text(text: str, start: int = 0) -> Iterator[str]:
    """Every character from `start` replaced by a neighbour, its other case, a look-alike of other alphabets; one
    missing, one more."""
    for position in range(start, len(text)):
        letter = text[position]
        for other in {chr(ord(letter) ^ 1), letter.swapcase(), "A" if letter != "A" else "B"} - {letter}:
            yield text[:position] + other + text[position + 1 :]
    yield text[:-1]
    yield text + "A"


async def assert_every_change_is_refused(
    check: Check, headers: Mapping[str, str], body: bytes, *, signed: Mapping[str, int]
) -> None:
    """`signed` names the headers that carry the signature or what is signed, with where in them to begin. The
    unchanged message must pass, and without any one of these headers, or with an empty one, it must not."""
    await check(headers, body)
    for changed in changed_bytes(body):
        await _refused(check, headers, changed)
    for name, start in signed.items():
        for value in changed_text(headers[name], start):
            await _refused(check, {**headers, name: value}, body)
        await _refused(check, {key: value for key, value in headers.items() if key != name}, body)
        await _refused(check, {**headers, name: ""}, body)


async def _refused(check: Check, headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(SignatureRefused) as caught:
        await check(headers, body)
    assert caught.value.__cause__ is None
    assert not [value for value in headers.values() if len(value) > 16 and value in str(caught.value)]
