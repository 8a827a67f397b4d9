"""The mapping of domain events to those of an analytics provider: which types are sent, and as what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

import jmespath
from jmespath.exceptions import JMESPathError

from domain.core.errors import FieldError, ValidationFailed, json_pointer
from domain.core.text_length import cut
from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent
from domain.providers.analytics import AnalyticsEvent
from domain.sync.mapping import EventMapping, ExpressionEvaluator


class EventMapper:
    """The mappings of an integration by type, ready to use. Raises ValidationFailed for what is not JMESPath.

    `spent` is the effort of all events so far."""

    def __init__(self, mappings: Mapping[str, EventMapping]) -> None:
        self._mappings = mappings
        self.spent = 0
        self._compiled: dict[str, tuple[Any, list[tuple[str, Any]]]] = {}
        errors: list[FieldError] = []
        for type_, mapping in mappings.items():
            pointer = f"/events{json_pointer(type_)}"
            user = _compile(mapping.user_id, f"{pointer}/userId", errors) if mapping.user_id else None
            properties = [
                (name, _compile(expression, f"{pointer}/properties{json_pointer(name)}", errors))
                for name, expression in (mapping.properties or {}).items()
            ]
            self._compiled[type_] = user, properties
        if errors:
            raise ValidationFailed("The mapping contains expressions that are not JMESPath.", errors)

    @property
    def types(self) -> list[str]:
        return sorted(self._mappings)

    def apply(self, event: DomainEvent, integration_id: UUID) -> AnalyticsEvent:
        """Return the event as the provider shall have it. Raises ValueError with what could not be mapped."""
        mapping, (user, properties) = self._mappings[event.type], self._compiled[event.type]
        try:
            data = json.loads(event.data)
        except (ValueError, RecursionError):
            raise ValueError("data") from None
        document = {
            "id": event.event_id,
            "type": event.type,
            "subject": event.subject,
            "occurredAt": rfc3339(event.occurred_at),
            "data": data,
        }
        evaluator = ExpressionEvaluator()
        try:
            found = {name: _value(evaluator, name, compiled, document) for name, compiled in properties}
            user_id = _value(evaluator, "userId", user, document) if user is not None else None
        finally:
            self.spent += evaluator.spent
        if mapping.properties is None:
            values = dict(data) if isinstance(data, dict) else {}
        else:
            values = {name: value for name, value in found.items() if value is not None}
        if isinstance(user_id, bool | float | list | dict):
            raise ValueError("userId")
        return AnalyticsEvent(
            event_id=event.event_id,
            name=mapping.name or event.type,
            occurred_at=event.occurred_at,
            properties=values,
            source_id=str(uuid5(integration_id, "events")),
            user_id=str(user_id) if user_id not in (None, "") else None,
        )


def _compile(expression: str, pointer: str, errors: list[FieldError]) -> Any:
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        reason = cut(str(error).splitlines()[0], 200)
        errors.append(FieldError(pointer, f"Not a JMESPath expression: {reason}"))
        return None


def _value(evaluator: ExpressionEvaluator, name: str, compiled: Any, document: Mapping[str, Any]) -> Any:
    try:
        return evaluator.search(compiled, document)
    except (JMESPathError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(name) from error
