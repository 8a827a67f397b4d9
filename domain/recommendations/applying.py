"""Applying a recommendation: the use case that a person would have called, with the same checks and audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from domain.apikeys.model import RevokeApiKey, UpdateApiKey
from domain.apikeys.service import ApiKeyService
from domain.identity.model import Principal
from domain.recommendations.model import Change, Operation, Subject
from domain.sync.schedules import PutSchedule
from domain.sync.scheduling import Schedules
from domain.webhooks.model import UpdateWebhook
from domain.webhooks.service import WebhookService


class Applier:
    """`schedules` is asked for where one is needed: it brings all of synchronisation with it."""

    def __init__(
        self, webhooks: WebhookService, keys: ApiKeyService, schedules: Callable[[], Schedules]
    ) -> None:
        self._schedules = schedules
        self._webhooks = webhooks
        self._keys = keys

    async def apply(self, principal: Principal, subject: Subject, change: Change) -> None:
        """Change the subject, if it still is as it was when its evidence was read. Raises Forbidden, NotFound,
        PreconditionFailed, ValidationFailed, Conflict, Unavailable."""
        body = dict(change.body)
        if change.operation == Operation.UpdateWebhook:
            await self._webhooks.update(
                principal, subject.id, UpdateWebhook.model_validate(body), subject.version
            )
        elif change.operation == Operation.UpdateApiKey:
            update = UpdateApiKey.model_validate(body)
            await asyncio.to_thread(self._keys.update, principal, subject.id, update, subject.version)
        elif change.operation == Operation.PutSyncSchedule:
            schedule = PutSchedule.model_validate(body)
            await asyncio.to_thread(self._schedules().put, principal, subject.id, schedule, subject.version)
        else:
            reason = RevokeApiKey.model_validate(body).reason
            await asyncio.to_thread(self._keys.revoke, principal, subject.id, reason, subject.version)
