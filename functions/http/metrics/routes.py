"""`/api/ops/metrics`: the hub's own metrics, for Prometheus."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import METRICS_READ
from functions.http.kit.calls import check_parameters
from functions.http.kit.exchange import Exchange
from functions.http.kit.operations import OPERATIONS, ApiOperation
from functions.http.kit.resource import serve
from infra.app.build import hub, use

bp = func.Blueprint()
_CREDENTIALS = ("authorization", "x-api-key", "x-ms-client-principal")
_METRICS = ApiOperation(
    method="GET",
    route="ops/metrics",
    name="read_metrics",
    summary="Get the hub's metrics",
    tag="Operations",
    description="The metrics of section 12.1 over all tenants, in the text format of Prometheus, or as OpenMetrics "
    "where `Accept` asks for it. No label names a tenant, an integration or a key. Counters restart at midnight "
    "(UTC), those of API keys never do. In development no credentials are needed.",
    permission=METRICS_READ,
    open_in_development=True,
    media_type="text/plain",
)


@serve(bp, _METRICS.route)
def read_metrics(req: func.HttpRequest) -> func.HttpResponse:
    """Return the metrics; a caller that sends credentials needs the permission in development too."""
    from domain.monitoring.metrics import MetricsService
    from functions.http.metrics.views import exposition

    exchange = Exchange(req)
    with exchange.bound(_METRICS.route):
        try:
            if not hub().settings.is_development or any(name in req.headers for name in _CREDENTIALS):
                exchange.authenticated(_METRICS.permission)
            check_parameters(req, None)
            text, content_type = exposition(use(MetricsService).read(), req.headers.get("accept", ""))
            return exchange.dressed(func.HttpResponse(text, headers={"Content-Type": content_type}))
        except Exception as error:
            return exchange.failed(error)


OPERATIONS.append(_METRICS)
