"""How listings of payments and messages read the fields of a record: texts, moments, amounts of money."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.core.wire import rfc3339
from infra.providers._kit.wire import at, moment

TEXT_MAX = 2_000
DAY_SECONDS = 86_400

# ISO 4217 list one (https://www.six-group.com/en/products-services/financial-information/data-standards.html):
# every currency that does not have two decimals.
_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
    *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
)
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_FOUR_DECIMALS = ("CLF", "UYW")
_EXPONENTS = {
    **dict.fromkeys(_NO_DECIMALS, 0),
    **dict.fromkeys(_THREE_DECIMALS, 3),
    **dict.fromkeys(_FOUR_DECIMALS, 4),
}
_AMOUNT_MAX = Decimal(10) ** 15


def unix(when_utc: datetime) -> int:
    """Return whole seconds since 1970."""
    return int(when_utc.timestamp())


def stamp(seconds: int) -> str:
    """Write Unix seconds as `2026-01-31T09:30:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def required(data: Any, *path: str | int) -> Any:
    """Return what is at the path of a record. Raises ValueError where there is nothing."""
    found = at(data, *path)
    if found is None or found == "":
        raise ValueError(f"The record has no {'.'.join(str(step) for step in path)}.")
    return found


def short(value: Any) -> str | None:
    """Return text of a record, at most 2,000 characters; None for nothing and for neither text nor number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value.strip()[:TEXT_MAX] or None if isinstance(value, str) else None


def when(value: Any) -> str | None:
    """Write a moment of a record (RFC 3339 or Unix seconds) as the product does, None when it cannot be read."""
    read = moment(value)
    return rfc3339(read) if read is not None else None


def joined(addresses: Iterable[str]) -> str:
    """Join addresses by commas, as many as fit into 2,000 characters."""
    text = ""
    for address in addresses:
        longer = f"{text}, {address}" if text else address
        if len(longer) > TEXT_MAX:
            break
        text = longer
    return text


def exponent(currency: str) -> int:
    """Return how many decimals the currency has by ISO 4217."""
    return _EXPONENTS.get(currency, 2)


def minor_units(amount: Any, currency: str) -> int:
    """Return `10.50` USD as 1050, `500` JPY as 500, `1.234` KWD as 1234.

    Raises ValueError for what is no amount of that currency."""
    try:
        value = Decimal(amount) if isinstance(amount, str) else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or abs(value) >= _AMOUNT_MAX:
        raise ValueError("The amount is not a decimal number.")
    return _exact(value.scaleb(exponent(currency)))


def rescaled(amount: Any, decimals: int, currency: str) -> int:
    """Return an integer amount that a provider counts with `decimals` in the currency's own minor unit.

    Raises ValueError."""
    if isinstance(amount, bool) or not isinstance(amount, int) or abs(amount) >= _AMOUNT_MAX:
        raise ValueError("The amount is not a whole number.")
    return _exact(Decimal(amount).scaleb(exponent(currency) - decimals))


def _exact(value: Decimal) -> int:
    if value != value.to_integral_value():
        raise ValueError("The amount is finer than its currency's minor unit.")
    return int(value)
