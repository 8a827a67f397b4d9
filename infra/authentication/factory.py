"""The token verifier that the settings ask for."""

from __future__ import annotations

from domain.authentication.ports import TokenVerifier
from infra.app.settings import Settings
from infra.authentication.development import DEVELOPMENT_ISSUER, DevelopmentKeys
from infra.authentication.discovery import IssuerKeys
from infra.authentication.jwks import CachedKeys
from infra.authentication.tokens import JwtVerifier


def build_verifier(settings: Settings) -> TokenVerifier:
    """Return a verifier of `auth_issuer`'s tokens, or of the development issuer's where that is unset.

    The latter in development only. Nothing is connected to or read until the first token arrives. Raises
    ValueError, naming the setting, when production has no issuer or an address is not https."""
    if settings.auth_issuer:
        source = IssuerKeys(
            settings.auth_issuer, settings.auth_jwks_url, allow_loopback_http=settings.is_development
        )
        keys = CachedKeys(source.fetch, cache_seconds=settings.auth_jwks_cache_seconds)
        return JwtVerifier(settings, keys, issuer=settings.auth_issuer, tells_end=not settings.is_development)
    if settings.is_development:
        return JwtVerifier(
            settings, DevelopmentKeys(settings.home), issuer=DEVELOPMENT_ISSUER, tells_end=False
        )
    raise ValueError(
        "HUB_AUTH_ISSUER is not set: production needs the issuer whose tokens it accepts, for Entra ID "
        "https://login.microsoftonline.com/<tenant id>/v2.0. The development issuer is for development only."
    )
