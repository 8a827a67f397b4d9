"""The one function app: registers the blueprints, nothing else."""

from importlib import import_module

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for module in (
    "http.alerts.routes",
    "http.anomalies.routes",
    "http.apikeys.routes",
    "http.audit.routes",
    "http.datasyncs.routes",
    "http.events.routes",
    "http.incoming.routes",
    "http.incoming.receipt",
    "http.insights.routes",
    "http.integrations.routes",
    "http.metrics.routes",
    "http.oauth.routes",
    "http.ops.routes",
    "http.privacy.routes",
    "http.providers.routes",
    "http.realtime.routes",
    "http.recommendations.routes",
    "http.records.routes",
    "http.webhooks.routes",
    "queues",
    "timers",
    "sync_orchestration",
):
    app.register_functions(import_module(f"functions.{module}").bp)
