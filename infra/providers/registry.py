"""The adapter of each provider. A module is imported when its provider is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib import import_module
from typing import cast

from domain.integrations.connection import Catalogue
from domain.integrations.model import Integration
from domain.providers.contract import IntegrationType, Provider
from domain.providers.records import StreamProfile

#: Provider name, as clients write it, to its module here. A new provider adds its line and its module.
_MODULES: Mapping[str, str] = {
    "Stripe": "stripe",
    "PayPal": "paypal",
    "Square": "square",
    "SendGrid": "sendgrid",
    "Mailgun": "mailgun",
    "Postmark": "postmark",
    "Twilio": "twilio",
    "Vonage": "vonage",
    "Google": "google_calendar",
    "Outlook": "outlook_calendar",
    "iCal": "ical",
    "HubSpot": "hubspot",
    "Salesforce": "salesforce",
    "Segment": "segment",
    "GA4": "ga4",
    "AzureBlob": "azure_blob",
    "S3": "s3",
    "REST": "custom_rest",
}


class _Providers(Mapping[str, Provider]):
    def __getitem__(self, name: str) -> Provider:
        return _load(_MODULES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __contains__(self, name: object) -> bool:
        return name in _MODULES


def all_providers() -> Mapping[str, Provider]:
    """Return every provider by name. Looking one up imports its module, listing the names imports none."""
    return _Providers()


class KnownProviders:
    """Implements `domain.recommendations.ports.Providers`. Its first question imports every provider."""

    def __init__(
        self, catalogue: Catalogue, streams: Callable[[Integration], Sequence[StreamProfile]]
    ) -> None:
        self._catalogue = catalogue
        self.streams = streams

    def of_type(self, integration_type: IntegrationType) -> Sequence[str]:
        if integration_type in self._catalogue.disabled_types:
            return ()
        return [name for name, type_ in self._types.items() if type_ == integration_type]

    @cached_property
    def _types(self) -> Mapping[str, IntegrationType]:
        providers = self._catalogue.providers
        return {name: provider.profile.integration_type for name, provider in providers.items()}


@cache
def _load(module: str) -> Provider:
    return cast(Provider, import_module(f"infra.providers.{module}.adapter").PROVIDER)
