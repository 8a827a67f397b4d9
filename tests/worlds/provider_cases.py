"""The table every provider is tested by. Adding a provider: its module in `infra/providers`, and one module in
`tests/fixtures/providers` that exposes `CASE`."""

import importlib
import pkgutil

from tests.fixtures import providers
from tests.fixtures.provider_case import ProviderCase

__all__ = ["CASES", "ProviderCase"]


def _collect() -> dict[str, ProviderCase]:
    found: dict[str, ProviderCase] = {}
    for module in pkgutil.iter_modules(providers.__path__):
        case = importlib.import_module(f"{providers.__name__}.{module.name}").CASE
        found[case.provider.profile.name] = case
    return found


#: By provider name.
CASES: dict[str, ProviderCase] = _collect()
