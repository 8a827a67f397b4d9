"""Say that the app is about to be deployed, by a tag of the function app: who wrote it and when is in the activity log.

A deployment package that is written without such a word raises the alert `package-written`. azd runs this before each
deployment; whoever deploys by other means runs it first. Takes AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and
HUB_FUNCTION_APP from the environment, as azd sets them, and whoever is logged in to azd or az."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import httpx
from surroundings import told, use_own_python

RESOURCE_MANAGER = "https://management.azure.com"
TAG = "hub-deployed-at"


def announce(token: str, app: str, moment: datetime, *, manager: str = RESOURCE_MANAGER) -> None:
    """Merge the tag with those that the function app (a resource id) has. Raises httpx.HTTPStatusError.

    https://learn.microsoft.com/rest/api/resources/tags/update-at-scope"""
    answer = httpx.patch(
        f"{manager}{app}/providers/Microsoft.Resources/tags/default",
        params={"api-version": "2021-04-01"},
        headers={"authorization": f"Bearer {token}"},
        json={"operation": "Merge", "properties": {"tags": {TAG: moment.isoformat(timespec="seconds")}}},
        timeout=30,
    )
    answer.raise_for_status()


def main() -> int:
    """Announce, and return the exit code: what was not announced is not deployed."""
    from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential

    subscription, group, name = told("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "HUB_FUNCTION_APP")
    app = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Web/sites/{name}"
    credential = ChainedTokenCredential(AzureDeveloperCliCredential(), AzureCliCredential())
    try:
        announce(credential.get_token(f"{RESOURCE_MANAGER}/.default").token, app, datetime.now(UTC))
    except httpx.HTTPError as failure:
        print(f"The deployment could not be announced: {failure}", file=sys.stderr)
        return 1
    print(f"The deployment of {name} is announced.")
    return 0


if __name__ == "__main__":
    use_own_python()
    sys.exit(main())
