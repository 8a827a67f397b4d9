"""The one function app: registers the blueprints, nothing else."""

import azure.durable_functions as df
import azure.functions as func

from functions import queues, sync_orchestration, timers
from functions.http.alerts import routes as alerts
from functions.http.anomalies import routes as anomalies
from functions.http.apikeys import routes as apikeys
from functions.http.audit import routes as audit
from functions.http.datasyncs import routes as datasyncs
from functions.http.events import routes as events
from functions.http.incoming import receipt as incoming_receipt
from functions.http.incoming import routes as incoming
from functions.http.insights import routes as insights
from functions.http.integrations import routes as integrations
from functions.http.metrics import routes as metrics
from functions.http.oauth import routes as oauth
from functions.http.ops import routes as ops
from functions.http.privacy import routes as privacy
from functions.http.providers import routes as providers
from functions.http.realtime import routes as realtime
from functions.http.recommendations import routes as recommendations
from functions.http.records import routes as records
from functions.http.webhooks import routes as webhooks

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for module in (
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
    records,
    webhooks,
    queues,
    timers,
    sync_orchestration,
):
    app.register_functions(module.bp)
