"""`/api/alerts`: what somebody should look at, and when the hub says so (section 12.3)."""

from __future__ import annotations

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
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from infra.app.build import hub

alerts = Resource("alerts", tag="Alerts", permission=ALERTS_READ)


@alerts.get(query=AlertQuery, response=AlertPage)
def list_alerts(call: Call) -> ApiResponse:
    """List alerts.

    Newest first. There is one active alert of a kind about a subject, however often it is seen; when it is over it
    recovers by itself, and the next is a new one."""
    query = call.query(AlertQuery)
    page = hub().alerts.service.page(
        call.principal, query.to_filter(), query.page_request(), platform=query.scope == "Platform"
    )
    return ApiResponse(page_of(page, alert_view, AlertPage))


@alerts.get("rules", response=AlertRulesView)
def list_alert_rules(call: Call) -> ApiResponse:
    """List the alert rules.

    As the tenant has them: the defaults with what it changed."""
    rules = hub().alerts.service.rules(call.principal)
    return ApiResponse(AlertRulesView(items=[rule_view(rule) for rule in rules]))


@alerts.put(
    "rules/{kind}", permission=ALERTS_MANAGE, body=ChangeAlertRule, response=AlertRuleView, refusals=(412,)
)
def change_alert_rule(call: Call) -> ApiResponse:
    """Change an alert rule.

    The fields sent replace, the others stay; null goes back to the default. `sinks` names e-mail and SMS
    integrations of the tenant with the recipients: each is told once when an alert opens, and once when it
    recovers."""
    rule = hub().alerts.service.change_rule(
        call.principal, call.request.route_params["kind"], call.body(ChangeAlertRule), call.if_match()
    )
    return ApiResponse(rule_view(rule), version=rule.version)


@alerts.get("{id}", response=AlertDetailView)
def get_alert(call: Call) -> ApiResponse:
    """Get an alert.

    With the messages to people about it, and what became of them."""
    return ApiResponse(alert_detail(hub().alerts.service.get(call.principal, call.id())))


@alerts.post(
    "{id}/acknowledge",
    permission=ALERTS_MANAGE,
    body=AcknowledgeAlert,
    body_is_optional=True,
    response=AlertDetailView,
    refusals=(409,),
)
def acknowledge_alert(call: Call) -> ApiResponse:
    """Acknowledge an alert.

    Says that somebody looks after it. It stays active until it recovers by itself."""
    command = call.body(AcknowledgeAlert, is_optional=True)
    return ApiResponse(alert_detail(hub().alerts.service.acknowledge(call.principal, call.id(), command)))
