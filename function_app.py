"""The one function app: registers the blueprints, nothing else."""

import azure.durable_functions as df
import azure.functions as func

from functions import messages, sync_orchestrations, sync_triggers, timers
from functions.http import (
    alerts,
    anomalies,
    apikeys,
    audit,
    datasyncs,
    events,
    incoming,
    incoming_receipt,
    insights,
    integrations,
    metrics,
    oauth,
    ops,
    privacy,
    providers,
    realtime,
    recommendations,
    sync_records,
    webhooks,
)

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for module in (
    integrations,
    oauth,
    providers,
    incoming,
    incoming_receipt,
    alerts,
    apikeys,
    audit,
    webhooks,
    events,
    datasyncs,
    sync_records,
    realtime,
    insights,
    metrics,
    anomalies,
    recommendations,
    ops,
    privacy,
    messages,
    timers,
    sync_orchestrations,
    sync_triggers,
):
    app.register_functions(module.bp)
