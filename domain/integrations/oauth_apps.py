"""The OAuth apps of the installation: one client for each provider, for integrations that bring none of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_camel

from domain.core.errors import FieldError, ValidationFailed
from domain.core.ports import SecretStore
from domain.integrations.configuration import MASK, Split
from domain.providers.contract import ProviderFailure, ProviderProfile
from domain.providers.oauth_profile import OAuthProfile

#: The properties of a configuration that name its OAuth client; the second one is a secret.
CLIENT_FIELDS = ("clientId", "clientSecret")
_ID, _SECRET = CLIENT_FIELDS
_PLACEHOLDER = "the app of the installation"
_OF_APP = "the OAuth app of this installation is used"
_GONE = (
    "The integration brings no OAuth client of its own, and this installation has none for its provider any more; "
    "set clientId and clientSecret."
)
_NO_SECRET = "The secret of the installation's OAuth app is not in the secret store."  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """One client.

    `configuration` has further properties that it fixes, such as `tenant`; without `scopes` the provider's usual ones
    are asked for."""

    client_id: str
    secret_name: str
    scopes: Sequence[str] = ()
    configuration: Mapping[str, str] = field(default_factory=dict)


class OAuthApps:
    """The client's secret leaves for the provider's own addresses only, or those that the app itself names.

    So a configuration without a client cannot set an address that has a default: whoever may create an integration
    could have the secret, or another person's tokens, sent to themselves."""

    def __init__(self, apps: Mapping[str, OAuthApp], secrets: SecretStore) -> None:
        self._apps = apps
        self._secrets = secrets

    def has(self, profile: ProviderProfile) -> bool:
        """Return whether integrations of the provider may leave their client out."""
        return _needs_client(profile) and profile.name in self._apps

    def schema_of(self, profile: ProviderProfile) -> dict[str, Any]:
        """Return the JSON Schema of the configuration; where there is an app, the client is optional."""
        schema = profile.configuration.model_json_schema(by_alias=True)
        if self.has(profile):
            schema["required"] = [name for name in schema.get("required", ()) if name not in CLIENT_FIELDS]
            for name in CLIENT_FIELDS:
                described = schema["properties"][name]
                described["description"] = f"{described.get('description', name)}; unset: {_OF_APP}"
        return schema

    def oauth_of(self, profile: ProviderProfile, split: Split) -> OAuthProfile | None:
        """Return the provider's authorization server, with the scopes of the app where the app is used."""
        app = self._app_of(profile, split)
        if profile.oauth is None or app is None or not app.scopes:
            return profile.oauth
        return replace(profile.oauth, scopes=app.scopes)

    def configured(
        self,
        profile: ProviderProfile,
        sent: Mapping[str, Any],
        change: Callable[[Mapping[str, Any]], Split],
        *,
        kept: Mapping[str, Any] | None = None,
    ) -> Split:
        """Return what `change` makes of the fields sent; without a client, what is left of it beside the app's.

        `kept`: the configuration that `change` only replaces fields of. Raises ValidationFailed."""
        if not self.has(profile) or any(_has_client(given) for given in (sent, kept or {})):
            return change(sent)
        fixed = _fixed(profile, self._apps[profile.name])
        _check_fixed(profile, sent, fixed)
        split = change({**sent, **fixed, _ID: _PLACEHOLDER, _SECRET: _PLACEHOLDER})
        return Split(
            {name: value for name, value in split.plain.items() if name != _ID and name not in fixed},
            {pointer: value for pointer, value in split.secrets.items() if pointer != f"/{_SECRET}"},
        )

    def completed(self, profile: ProviderProfile, split: Split) -> Split:
        """Return the configuration with the app's client where it has none.

        Raises ProviderFailure (`malformed`) where the app or its secret is gone, Unavailable."""
        if not _needs_client(profile) or _has_client(split.plain):
            return split
        app = self._app_of(profile, split)
        if app is None:
            raise ProviderFailure("malformed", _GONE)
        secret = self._secrets.get(app.secret_name)
        if secret is None:
            raise ProviderFailure("malformed", _NO_SECRET)
        plain = {**split.plain, **_fixed(profile, app), _ID: app.client_id}
        return Split(plain, {**split.secrets, f"/{_SECRET}": secret})

    def addressed(self, profile: ProviderProfile, split: Split) -> Split:
        """Return the configuration with the addresses that the app fixes where it is used, its client left out."""
        app = self._app_of(profile, split)
        return split if app is None else replace(split, plain={**split.plain, **_fixed(profile, app)})

    def _app_of(self, profile: ProviderProfile, split: Split) -> OAuthApp | None:
        is_needed = _needs_client(profile) and not _has_client(split.plain)
        return self._apps.get(profile.name) if is_needed else None


def _needs_client(profile: ProviderProfile) -> bool:
    return profile.oauth is not None and "client_id" in profile.configuration.model_fields


def _has_client(given: Mapping[str, Any]) -> bool:
    return any(given.get(name) not in (None, "", MASK) for name in CLIENT_FIELDS)


def _defaults(profile: ProviderProfile) -> dict[str, str]:
    """Return the addresses that have a default; one without is the customer's own, such as that of a Salesforce org."""
    fields = profile.configuration.model_fields
    named = {info.alias or to_camel(name): info.default for name, info in fields.items()}
    return {name: value for name, value in named.items() if name.endswith("Url") and isinstance(value, str)}


def _fixed(profile: ProviderProfile, app: OAuthApp) -> dict[str, str]:
    return {**_defaults(profile), **app.configuration}


def _check_fixed(profile: ProviderProfile, sent: Mapping[str, Any], fixed: Mapping[str, str]) -> None:
    defaults = _defaults(profile)
    detail = (
        "This is fixed for the OAuth app of the installation; leave it out, or bring a client of your own "
        "(clientId and clientSecret)."
    )
    errors = [
        FieldError(f"/configuration/{name}", detail)
        for name, value in fixed.items()
        if sent.get(name) is not None
        and str(sent[name]).rstrip("/") not in {value.rstrip("/"), defaults.get(name, value).rstrip("/")}
    ]
    if errors:
        raise ValidationFailed("The configuration cannot be used with the installation's OAuth app.", errors)
