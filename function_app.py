"""The one function app: registers the functions, nothing else."""

import azure.durable_functions as df
import azure.functions as func

from functions import queues, sync_orchestration, timers
from functions.http.alerts.routes import alerts
from functions.http.anomalies.routes import anomalies
from functions.http.apikeys.routes import apikeys
from functions.http.audit.routes import audit
from functions.http.datasyncs.routes import datasyncs
from functions.http.dead_letters.routes import dead_letters
from functions.http.events.routes import events
from functions.http.incoming import receipt as incoming_receipt
from functions.http.incoming.routes import incoming, incoming_settings
from functions.http.insights.routes import insights
from functions.http.integrations.routes import integrations
from functions.http.loops.routes import loops
from functions.http.metrics import routes as metrics
from functions.http.oauth.routes import oauth
from functions.http.ops import routes as ops
from functions.http.platform.routes import platform
from functions.http.privacy.routes import privacy
from functions.http.providers.routes import providers
from functions.http.realtime.routes import realtime
from functions.http.recommendations.routes import recommendations
from functions.http.records.routes import records
from functions.http.usage.routes import usage
from functions.http.webhooks.routes import webhooks

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for blueprint in (
    alerts.bp,
    anomalies.bp,
    apikeys.bp,
    audit.bp,
    datasyncs.bp,
    dead_letters.bp,
    events.bp,
    incoming_receipt.bp,
    incoming.bp,
    incoming_settings.bp,
    insights.bp,
    integrations.bp,
    loops.bp,
    metrics.bp,
    oauth.bp,
    ops.bp,
    platform.bp,
    privacy.bp,
    providers.bp,
    realtime.bp,
    recommendations.bp,
    records.bp,
    usage.bp,
    webhooks.bp,
    queues.bp,
    timers.bp,
    sync_orchestration.bp,
):
    app.register_functions(blueprint)
