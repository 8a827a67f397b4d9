"""The language model as the settings name it."""

from __future__ import annotations

from domain.core.tracing import UNTRACED, Tracer
from domain.recommendations.ai import LanguageModel
from infra.app.settings import Settings


def language_model(settings: Settings, tracer: Tracer = UNTRACED) -> LanguageModel | None:
    """None where no endpoint is set. Raises ValueError for an address that is not https."""
    if not settings.openai_endpoint:
        return None
    from infra.azure.openai.access import IdentityModelAccess, KeyModelAccess, ModelAccess
    from infra.azure.openai.model import AzureOpenAI

    access: ModelAccess
    if settings.openai_key is not None:
        access = KeyModelAccess(settings.openai_key.get_secret_value())
    else:
        access = IdentityModelAccess(settings.managed_identity_client_id)
    return AzureOpenAI(
        settings.openai_endpoint,
        settings.openai_deployment,
        access,
        reasoning_effort=settings.openai_reasoning_effort,
        allow_loopback_http=settings.is_development,
        tracer=tracer,
    )
