"""`/api/privacy`: export and erasure of a person's data (section 17.3).

The person is named in bodies only: proxies and servers log addresses and query strings."""

from __future__ import annotations

from domain.core.permissions import PRIVACY_MANAGE
from domain.privacy.exporting import ExportService
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
from infra.app.build import use

privacy = Resource("privacy", tag="Privacy", permission=PRIVACY_MANAGE)


@privacy.post("export", body=ExportSubject, response=ExportView)
def export_person(call: Call) -> ApiResponse:
    """Export a person's data.

    Searches the tenant's synchronised records, event payloads, incoming webhooks and logs, for at most 10
    seconds a request. Continue with `cursor` until it is null, even after an answer without items. Each item is
    shown whole and may mention other people: check it before you hand it over. The export is not stored; a
    repeat under its `Idempotency-Key` searches again."""
    export = use(ExportService).page(call.principal, call.body(ExportSubject))
    return ApiResponse(export_view(export), is_kept=False)


@privacy.post("erase", body=EraseSubject, response=ErasureView, status=202)
def erase_person(call: Call) -> ApiResponse:
    """Erase a person's data.

    Cannot be undone. The records named in the request are erased at once. The search for the identifiers starts
    a minute later and runs in the background. With `suppress`, synchronisation leaves the person out from now
    on. Nothing is changed at providers or at webhook receivers: erase the person there too."""
    from domain.privacy.erasing import ErasureService

    erasure = use(ErasureService).request(call.principal, call.body(EraseSubject))
    location = privacy.location("erasures", erasure.erasure_id)
    return ApiResponse(erasure_view(erasure), status=202, location=location)


@privacy.get("erasures", query=PageQuery, response=ErasurePage)
def list_erasures(call: Call) -> ApiResponse:
    """List erasures.

    Newest first. They do not contain the identifiers of the person."""
    from domain.privacy.erasing import ErasureService

    page = use(ErasureService).page(call.principal, call.query(PageQuery).page_request())
    return ApiResponse(page_of(page, erasure_view, ErasurePage))


@privacy.get("erasures/{id}", response=ErasureView)
def get_erasure(call: Call) -> ApiResponse:
    """Get an erasure and its progress."""
    from domain.privacy.erasing import ErasureService

    return ApiResponse(erasure_view(use(ErasureService).get(call.principal, call.id())))


@privacy.post("allow", body=AllowSubject, response=AllowedView)
def allow_person(call: Call) -> ApiResponse:
    """Allow a person to be synchronised again.

    Removes the identifiers and the named records from the suppression list, for example for a customer who came
    back. Erased data stays erased until the provider sends it again."""
    from domain.privacy.erasing import ErasureService

    lifted = use(ErasureService).allow(call.principal, call.body(AllowSubject))
    return ApiResponse(AllowedView(lifted=lifted))
