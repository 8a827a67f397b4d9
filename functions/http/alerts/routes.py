"""`/api/alerts`: what somebody should look at, and when the hub says so (section 12.3)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import ALERTS_MANAGE, ALERTS_READ
from domain.monitoring.alerts.service import AcknowledgeAlert, ChangeAlertRule
from functions.http.alerts.views import (
    AlertDetailView,
    AlertPage,
    AlertQuery,
    AlertRulesView,
    AlertRuleView,
    alert_detail,
    alert_view,
    rule_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.kit.views import page_of
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Alerts"


@serve(
    bp,
    Endpoint(
        "GET",
        "alerts",
        "list_alerts",
        "List alerts",
        _TAG,
        permission=ALERTS_READ,
        query=AlertQuery,
        response=AlertPage,
    ),
)
def list_alerts(call: Call) -> ApiResponse:
    """Newest first. There is one active alert of a kind about a subject, however often it is seen; when it is over it
    recovers by itself, and the next is a new one."""
    query = call.query(AlertQuery)
    page = hub().alerts.service.page(
        call.principal, query.to_filter(), query.page_request(), platform=query.scope == "Platform"
    )
    return ApiResponse(page_of(page, alert_view, AlertPage))


@serve(
    bp,
    Endpoint(
        "GET",
        "alerts/rules",
        "list_alert_rules",
        "List the alert rules",
        _TAG,
        permission=ALERTS_READ,
        response=AlertRulesView,
    ),
)
def list_alert_rules(call: Call) -> ApiResponse:
    """As the tenant has them: the defaults with what it changed."""
    rules = hub().alerts.service.rules(call.principal)
    return ApiResponse(AlertRulesView(items=[rule_view(rule) for rule in rules]))


@serve(
    bp,
    Endpoint(
        "PUT",
        "alerts/rules/{kind}",
        "change_alert_rule",
        "Change an alert rule",
        _TAG,
        permission=ALERTS_MANAGE,
        body=ChangeAlertRule,
        response=AlertRuleView,
        refusals=(404, 412),
    ),
)
def change_alert_rule(call: Call) -> ApiResponse:
    """The fields sent replace, the others stay; null goes back to the default. `sinks` names e-mail and SMS
    integrations of the tenant with the recipients: each is told once when an alert opens, and once when it
    recovers."""
    rule = hub().alerts.service.change_rule(
        call.principal, call.request.route_params["kind"], call.body(ChangeAlertRule), call.if_match()
    )
    return ApiResponse(rule_view(rule), version=rule.version)


@serve(
    bp,
    Endpoint(
        "GET",
        "alerts/{id}",
        "get_alert",
        "Get an alert",
        _TAG,
        permission=ALERTS_READ,
        response=AlertDetailView,
        refusals=(404,),
    ),
)
def get_alert(call: Call) -> ApiResponse:
    """With the messages to people about it, and what became of them."""
    return ApiResponse(alert_detail(hub().alerts.service.get(call.principal, call.id())))


@serve(
    bp,
    Endpoint(
        "POST",
        "alerts/{id}/acknowledge",
        "acknowledge_alert",
        "Acknowledge an alert",
        _TAG,
        permission=ALERTS_MANAGE,
        body=AcknowledgeAlert,
        body_is_optional=True,
        response=AlertDetailView,
        refusals=(404, 409),
    ),
)
def acknowledge_alert(call: Call) -> ApiResponse:
    """Says that somebody looks after it. It stays active until it recovers by itself."""
    command = call.body(AcknowledgeAlert, is_optional=True)
    return ApiResponse(alert_detail(hub().alerts.service.acknowledge(call.principal, call.id(), command)))
