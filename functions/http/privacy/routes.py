"""`/api/privacy`: what is held about a person, and its erasure (17.3). Whom it is about stands in bodies only:
addresses and query strings are logged on the way."""

from __future__ import annotations

from domain.core.permissions import PRIVACY_MANAGE
from domain.privacy.model import AllowSubject, EraseSubject, ExportSubject
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import PageQuery, page_of
from functions.http.privacy.views import (
    AllowedView,
    ErasurePage,
    ErasureView,
    ExportView,
    erasure_view,
    export_view,
)
from infra.app.build import hub

privacy = Resource("privacy", tag="Privacy", permission=PRIVACY_MANAGE)


@privacy.post("export", body=ExportSubject, response=ExportView)
def export_person(call: Call) -> ApiResponse:
    """Export what is held about a person.

    Searches synchronised records, event payloads, incoming webhooks and logs of the tenant, for 10 seconds at most:
    ask on with `cursor` until it is null, even after an answer without items. An item is shown whole and may mention
    other people: look through it before it is handed over. It is kept nowhere: a repeat under its `Idempotency-Key`
    searches anew."""
    export = hub().privacy.exports.page(call.principal, call.body(ExportSubject))
    return ApiResponse(export_view(export), is_kept=False)


@privacy.post("erase", body=EraseSubject, response=ErasureView, status=202)
def erase_person(call: Call) -> ApiResponse:
    """Erase a person.

    Cannot be undone. Records that are named are erased at once; where the identifiers occur is searched for from a
    minute later on, in the background. With `suppress` synchronisation leaves the person out from this moment.
    Nothing is changed at providers or at receivers of webhooks: erase the person there too."""
    erasure = hub().privacy.erasures.request(call.principal, call.body(EraseSubject))
    location = privacy.location("erasures", erasure.erasure_id)
    return ApiResponse(erasure_view(erasure), status=202, location=location)


@privacy.get("erasures", query=PageQuery, response=ErasurePage)
def list_erasures(call: Call) -> ApiResponse:
    """List erasures.

    Newest first. They do not say whom they were about."""
    page = hub().privacy.erasures.page(call.principal, call.query(PageQuery).page_request())
    return ApiResponse(page_of(page, erasure_view, ErasurePage))


@privacy.get("erasures/{id}", response=ErasureView)
def get_erasure(call: Call) -> ApiResponse:
    """Get an erasure.

    How far it is."""
    return ApiResponse(erasure_view(hub().privacy.erasures.get(call.principal, call.id())))


@privacy.post("allow", body=AllowSubject, response=AllowedView)
def allow_person(call: Call) -> ApiResponse:
    """Let a person be synchronised again.

    Takes the identifiers, and the records named, from the suppression list, such as for a customer who came back.
    What was erased stays erased until the provider lists it again."""
    lifted = hub().privacy.erasures.allow(call.principal, call.body(AllowSubject))
    return ApiResponse(AllowedView(lifted=lifted))
