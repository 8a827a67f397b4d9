"""The one function app: registers the blueprints, nothing else."""

import azure.durable_functions as df
import azure.functions as func

from functions import messages, orchestrations, timers
from functions.http import apikeys, audit, events, ops, webhooks

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for module in (apikeys, audit, webhooks, events, ops, messages, timers, orchestrations):
    app.register_functions(module.bp)
