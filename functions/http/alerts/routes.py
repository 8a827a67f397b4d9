"""`/api/alerts`: alerts and the rules that raise them (section 12.3)."""

from __future__ import annotations

from domain.core.permissions import ALERTS_MANAGE, ALERTS_READ
from domain.monitoring.alerts.service import AcknowledgeAlert, AlertService, ChangeAlertRule, ResolveAlert
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
from infra.app.build import use

alerts = Resource("alerts", tag="Alerts", permission=ALERTS_READ)


@alerts.get(query=AlertQuery, response=AlertPage)
def list_alerts(call: Call) -> ApiResponse:
    """List alerts.

    Newest first. At most one alert of a kind is active for a subject, however often its cause is seen. It
    recovers by evidence: three successes in a row, or its cause is gone. What comes back soon opens the same alert
    again. After seven days in which nothing could tell, it is closed as `noTraffic`."""
    query = call.query(AlertQuery)
    page = use(AlertService).page(
        call.principal, query.to_filter(), query.page_request(), platform=query.scope == "Platform"
    )
    return ApiResponse(page_of(page, alert_view, AlertPage))


@alerts.get("rules", response=AlertRulesView)
def list_alert_rules(call: Call) -> ApiResponse:
    """List the alert rules.

    Each rule is shown as it applies to the tenant: the default values, with the tenant's own changes."""
    rules = use(AlertService).rules(call.principal)
    return ApiResponse(AlertRulesView(items=[rule_view(rule) for rule in rules]))


@alerts.put(
    "rules/{kind}", permission=ALERTS_MANAGE, body=ChangeAlertRule, response=AlertRuleView, refusals=(412,)
)
def change_alert_rule(call: Call) -> ApiResponse:
    """Change an alert rule.

    Only the fields that are sent change; null restores the default. `sinks` names e-mail and SMS integrations
    of the tenant and their recipients. Each recipient gets one message when an alert opens and one when it
    recovers."""
    rule = use(AlertService).change_rule(
        call.principal, call.request.route_params["kind"], call.body(ChangeAlertRule), call.if_match()
    )
    return ApiResponse(rule_view(rule), version=rule.version)


@alerts.get("{id}", response=AlertDetailView)
def get_alert(call: Call) -> ApiResponse:
    """Get an alert.

    The answer includes the e-mail and SMS messages about the alert, and whether each was sent."""
    return ApiResponse(alert_detail(use(AlertService).get(call.principal, call.id())))


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

    Records that somebody is working on it. The alert stays active until it ends."""
    command = call.body(AcknowledgeAlert, is_optional=True)
    return ApiResponse(alert_detail(use(AlertService).acknowledge(call.principal, call.id(), command)))


@alerts.post(
    "{id}/resolve",
    permission=ALERTS_MANAGE,
    body=ResolveAlert,
    response=AlertDetailView,
    refusals=(409,),
)
def resolve_alert(call: Call) -> ApiResponse:
    """Resolve an alert.

    Ends an alert whose cause a person has removed where nothing can show it, such as a network that was blocked.
    Its status becomes `Closed`, `closedAs` is `resolved`, and `recovery` the note. When the cause is seen again, that
    is a new alert."""
    return ApiResponse(
        alert_detail(use(AlertService).resolve(call.principal, call.id(), call.body(ResolveAlert)))
    )
