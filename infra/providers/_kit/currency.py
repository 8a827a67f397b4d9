"""Amounts in minor units (ISO 4217)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

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


def exponent(currency: str) -> int:
    """How many decimals the currency has by ISO 4217."""
    return _EXPONENTS.get(currency, 2)


def minor_units(amount: Any, currency: str) -> int:
    """`10.50` USD as 1050, `500` JPY as 500, `1.234` KWD as 1234. Raises ValueError for what is no amount of that
    currency."""
    try:
        value = Decimal(amount) if isinstance(amount, str) else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or abs(value) >= _AMOUNT_MAX:
        raise ValueError("The amount is not a decimal number.")
    return _exact(value.scaleb(exponent(currency)))


def rescaled(amount: Any, decimals: int, currency: str) -> int:
    """An integer amount that a provider counts with `decimals` in the currency's own minor unit. Raises
    ValueError."""
    if isinstance(amount, bool) or not isinstance(amount, int) or abs(amount) >= _AMOUNT_MAX:
        raise ValueError("The amount is not a whole number.")
    return _exact(Decimal(amount).scaleb(exponent(currency) - decimals))


def _exact(value: Decimal) -> int:
    if value != value.to_integral_value():
        raise ValueError("The amount is finer than its currency's minor unit.")
    return int(value)
