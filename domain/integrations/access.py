"""Who reaches which integration; apart from the use cases, because those of several rooms ask it.

A permission opens all integrations of the tenant; `calendar:connect` alone opens the caller's own calendars."""

from __future__ import annotations

from domain.core.errors import NotFound
from domain.core.permissions import CALENDAR_CONNECT
from domain.core.principal import Principal
from domain.integrations.model import Integration
from domain.providers.contract import IntegrationType


def is_own_calendar(principal: Principal, integration: Integration) -> bool:
    is_calendar = integration.integration_type == IntegrationType.CalendarSync
    return is_calendar and integration.owner == principal.user_id


def reaches_own_only(principal: Principal, permission: str) -> bool:
    """Return whether the caller reaches their own calendars alone, as they lack `permission`.

    Raises Forbidden where they lack `calendar:connect` too."""
    if permission in principal.permissions:
        return False
    if CALENDAR_CONNECT not in principal.permissions:
        principal.require(permission)
    return True


def reached(
    principal: Principal, permission: str, integration: Integration, *, what: str = "integration"
) -> Integration:
    """Return the integration if the caller reaches it.

    Raises Forbidden; and NotFound, as for one that does not exist, for one that they cannot see in a list either:
    then `what` is what they asked for."""
    if reaches_own_only(principal, permission) and not is_own_calendar(principal, integration):
        raise NotFound(f"There is no such {what}.")
    return integration
