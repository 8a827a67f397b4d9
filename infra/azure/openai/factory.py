"""The language model as the settings name it."""

from __future__ import annotations

from domain.core.ports import Clock, TableStore
from domain.core.tracing import UNTRACED, Tracer
from domain.recommendations.ai import LanguageModel
from domain.recommendations.wording import Wording
from domain.recommendations.wording_ledger import WordingLedger
from infra.app.settings import Settings


def language_model(settings: Settings, tracer: Tracer = UNTRACED) -> LanguageModel | None:
    """None where no endpoint is set. Raises ValueError for an address that is not https."""
    if not settings.openai_endpoint:
        return None
    from infra.azure.openai.access import IdentityAccess, KeyAccess, ModelAccess
    from infra.azure.openai.model import AzureOpenAI

    access: ModelAccess
    if settings.openai_key is not None:
        access = KeyAccess(settings.openai_key.get_secret_value())
    else:
        access = IdentityAccess(settings.managed_identity_client_id)
    return AzureOpenAI(
        settings.openai_endpoint,
        settings.openai_deployment,
        access,
        reasoning_effort=settings.openai_reasoning_effort,
        allow_loopback_http=settings.is_development,
        tracer=tracer,
    )


def wording(settings: Settings, tables: TableStore, clock: Clock, tracer: Tracer = UNTRACED) -> Wording:
    """Raises ValueError as `language_model`."""
    ledger = WordingLedger(tables, clock, tokens_per_day=settings.openai_tokens_per_day)
    return Wording(
        language_model(settings, tracer), ledger, clock, timeout_seconds=settings.openai_timeout_seconds
    )
