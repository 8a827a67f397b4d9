"""The timers of section 14.1. Each is idempotent, bounded per run, and logs its counts."""

from __future__ import annotations

import asyncio
import logging

import azure.functions as func

from domain.apikeys.usage import UsageService
from domain.core.idempotency import Idempotency
from domain.incoming.service import IncomingCleanup
from domain.integrations.credential_store import CredentialStore
from domain.integrations.health import HealthMonitor
from domain.integrations.health_history import IntegrationHistory
from domain.journal.occurrences import OccurrenceSender
from domain.journal.outbox import EventService
from domain.journal.usage import TenantUsageService
from domain.monitoring.signal_series import SignalService
from domain.recommendations.decisions import DecisionCleaner
from domain.webhooks.loop_brake import LoopService
from domain.webhooks.sweep import DeliveryCleanup, RetryProcessor
from infra.app.build import hub, use

bp = func.Blueprint()
logger = logging.getLogger("hub.timers")


@bp.function_name("process_webhook_retries")
@bp.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def process_webhook_retries(timer: func.TimerRequest) -> None:
    """Every minute: queue again the deliveries that are due and were not attempted."""
    swept = use(RetryProcessor).sweep()
    logger.info(
        "webhook retries processed",
        extra={"requeued": swept.requeued, "interrupted": swept.interrupted, "expired": swept.expired},
    )


@bp.function_name("sweep_outbox")
@bp.timer_trigger(arg_name="timer", schedule="*/15 * * * * *")
def sweep_outbox(timer: func.TimerRequest) -> None:
    """Every 15 seconds: announce again the events whose message was lost.

    Also finds out whether what is held as a loop is one, and lets go what is not."""
    announced = use(EventService).sweep()
    if announced:
        logger.info("outbox swept", extra={"announced": announced})
    settled = use(LoopService).settle()
    if settled:
        logger.info("loops settled", extra={"brakes": settled})


@bp.function_name("clean_up_deliveries")
@bp.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
def clean_up_deliveries(timer: func.TimerRequest) -> None:
    """Daily at 03:00 UTC: delete what is past its retention.

    Deliveries and their events, incoming webhooks and their bodies, idempotency keys, and people's quotas."""
    from domain.authentication.user_limits import UserLimits

    deliveries, events = use(DeliveryCleanup).delete_old()
    with hub().transactions.read() as tx:
        tenants = tx.users.tenants()
    keys = use(Idempotency).forget_old(tenants)
    windows = use(UserLimits).forget_old(tenants)
    bodies, incoming = use(IncomingCleanup).delete_expired()
    logger.info(
        "deliveries cleaned up",
        extra={
            "deliveries": deliveries,
            "events": events,
            "idempotencyKeys": keys,
            "userQuotas": windows,
            "incomingBodies": bodies,
            "incomingWebhooks": incoming,
        },
    )


@bp.function_name("expire_api_keys")
@bp.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
def expire_api_keys(timer: func.TimerRequest) -> None:
    """Every hour: revoke the keys that have expired (BR-AK-04); they are refused from that second anyway."""
    from domain.apikeys.expiry import KeyExpiry

    logger.info("API keys expired", extra={"revoked": use(KeyExpiry).revoke_expired()})


@bp.function_name("close_key_connections")
@bp.timer_trigger(arg_name="timer", schedule="40 * * * * *")
def close_key_connections(timer: func.TimerRequest) -> None:
    """Every minute: end the rotations whose grace period is over, and close the connections of revoked keys.

    A connection is closed again until the service has confirmed it."""
    from domain.apikeys.expiry import KeyConnections, KeyExpiry

    ended = use(KeyExpiry).end_rotations()
    if ended:
        logger.info("rotations ended", extra={"revoked": ended})
    closed = use(KeyConnections).sweep()
    if closed:
        logger.info("connections of revoked keys closed", extra={"keys": closed})


@bp.function_name("roll_up_key_usage")
@bp.timer_trigger(arg_name="timer", schedule="20 */5 * * * *")
def roll_up_key_usage(timer: func.TimerRequest) -> None:
    """Every five minutes: write UsageCount and LastUsedAt from the usage windows."""
    logger.info("key usage rolled up", extra={"keys": use(UsageService).roll_up()})


@bp.function_name("clean_up_audit")
@bp.timer_trigger(arg_name="timer", schedule="0 30 3 * * *")
def clean_up_audit(timer: func.TimerRequest) -> None:
    """Daily at 03:30 UTC: delete audit rows and usage buckets past their retention."""
    from domain.journal.audit_log import AuditService

    rows = use(AuditService).forget_old()
    buckets = use(UsageService).forget_old()
    logger.info("audit cleaned up", extra={"rows": rows, "usageBuckets": buckets})


@bp.function_name("sign_audit_heads")
@bp.timer_trigger(arg_name="timer", schedule="50 */15 * * * *")
def sign_audit_heads(timer: func.TimerRequest) -> None:
    """Every quarter of an hour: sign the heads of the audit logs that have new rows, and keep them elsewhere."""
    from domain.journal.audit_signing import AuditHeads

    logger.info("audit heads kept", extra={"heads": use(AuditHeads).sign_new()})


@bp.function_name("check_integration_health")
@bp.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def check_integration_health(timer: func.TimerRequest) -> None:
    """Every five minutes: check every enabled active integration (BR-IM-03)."""
    monitor = await asyncio.to_thread(use, HealthMonitor)
    run = await monitor.check_due()
    logger.info("integrations checked", extra={"checked": run.checked, "verdicts": run.outcomes})


@bp.function_name("sweep_integrations")
@bp.timer_trigger(arg_name="timer", schedule="30 */5 * * * *")
def sweep_integrations(timer: func.TimerRequest) -> None:
    """Every five minutes: destroy the credentials that no integration refers to."""
    destroyed = use(CredentialStore).sweep(hub().transactions)
    if destroyed:
        logger.info("integrations swept", extra={"secretsDestroyed": destroyed})


@bp.function_name("refresh_oauth_tokens")
@bp.timer_trigger(arg_name="timer", schedule="45 */5 * * * *")
async def refresh_oauth_tokens(timer: func.TimerRequest) -> None:
    """Every five minutes: renew the OAuth tokens that expire within 15 minutes.

    Also completes authorizations that a crash interrupted, and destroys the tokens of integrations that are
    gone."""
    from domain.oauth.refresh import TokenRefresher

    refresher = await asyncio.to_thread(use, TokenRefresher)
    ends = await refresher.refresh_due()
    if ends:
        logger.info("OAuth tokens refreshed", extra={"ends": dict(ends)})


@bp.function_name("sweep_oauth")
@bp.timer_trigger(arg_name="timer", schedule="0 15 4 * * *")
def sweep_oauth(timer: func.TimerRequest) -> None:
    """Daily at 04:15 UTC: destroy tokens that no grant refers to, and abandoned authorizations."""
    from domain.oauth.refresh import TokenRefresher

    destroyed, forgotten = use(TokenRefresher).sweep()
    logger.info("OAuth swept", extra={"secretsDestroyed": destroyed, "states": forgotten})


@bp.function_name("clean_up_integration_logs")
@bp.timer_trigger(arg_name="timer", schedule="0 0 2 * * *")
def clean_up_integration_logs(timer: func.TimerRequest) -> None:
    """Daily at 02:00 UTC: delete integration logs and health samples past their retention."""
    logs, samples = use(IntegrationHistory).forget_old()
    logger.info("integration logs cleaned up", extra={"logs": logs, "samples": samples})


@bp.function_name("compact_signals")
@bp.timer_trigger(arg_name="timer", schedule="10 * * * * *")
def compact_signals(timer: func.TimerRequest) -> None:
    """Every minute: add what was counted to its hours."""
    added = use(SignalService).compact()
    if added:
        logger.info("signals compacted", extra={"signals": added})


@bp.function_name("clean_up_signals")
@bp.timer_trigger(arg_name="timer", schedule="0 45 2 * * *")
def clean_up_signals(timer: func.TimerRequest) -> None:
    """Daily at 02:45 UTC: delete signals and the usage of tenants past their retention."""
    hours, usage = use(SignalService).forget_old(), use(TenantUsageService).forget_old()
    logger.info("signals cleaned up", extra={"hours": hours, "tenantUsage": usage})


@bp.function_name("detect_anomalies")
@bp.timer_trigger(arg_name="timer", schedule="50 */5 * * * *")
def detect_anomalies(timer: func.TimerRequest) -> None:
    """Every five minutes: evaluate the hours that have ended since the last run (section 10.2)."""
    from domain.monitoring.anomalies.watch import AnomalyWatch

    done = use(AnomalyWatch).detect()
    if done.tenants:
        logger.info(
            "anomalies looked for",
            extra={"tenants": done.tenants, "detected": done.detected, "ended": done.ended},
        )


@bp.function_name("clean_up_anomalies")
@bp.timer_trigger(arg_name="timer", schedule="0 55 2 * * *")
def clean_up_anomalies(timer: func.TimerRequest) -> None:
    """Daily at 02:55 UTC: delete what is past its retention.

    Anomalies, uses of keys not seen for 90 days, and decisions on recommendations whose subject is gone."""
    from domain.authentication.key_usage_watch import KeyUsageWatch
    from domain.monitoring.anomalies.watch import AnomalyWatch

    counts = {
        "anomalies": use(AnomalyWatch).forget_old(),
        "sightings": use(KeyUsageWatch).forget_old(),
        "decisions": use(DecisionCleaner).forget_old(),
    }
    logger.info("anomalies cleaned up", extra=counts)


@bp.function_name("evaluate_alerts")
@bp.timer_trigger(arg_name="timer", schedule="40 * * * * *")
def evaluate_alerts(timer: func.TimerRequest) -> None:
    """Every minute: evaluate rates and dead letters, and close the alerts whose cause is gone (section 12.3)."""
    from domain.monitoring.alerts.evaluation import AlertEvaluator

    sent = use(OccurrenceSender).flush()
    raised, recovered = use(AlertEvaluator).evaluate()
    if sent or raised or recovered:
        logger.info("alerts evaluated", extra={"sent": sent, "raised": raised, "recovered": recovered})


@bp.function_name("send_alert_messages")
@bp.timer_trigger(arg_name="timer", schedule="*/30 * * * * *")
async def send_alert_messages(timer: func.TimerRequest) -> None:
    """Every 30 seconds: send the e-mails and SMS about alerts that are due."""
    from domain.monitoring.alerts.notifications import NotificationSender

    sender = await asyncio.to_thread(use, NotificationSender)
    counts = await sender.send_due()
    if counts:
        logger.info(
            "alert messages sent", extra={status.name.lower(): count for status, count in counts.items()}
        )


@bp.function_name("clean_up_alerts")
@bp.timer_trigger(arg_name="timer", schedule="0 50 2 * * *")
def clean_up_alerts(timer: func.TimerRequest) -> None:
    """Daily at 02:50 UTC: delete alerts that recovered longer ago than their retention."""
    from domain.monitoring.alerts.evaluation import AlertEvaluator

    logger.info("alerts cleaned up", extra={"alerts": use(AlertEvaluator).forget_old()})


@bp.function_name("settle_tenants")
@bp.timer_trigger(arg_name="timer", schedule="20 * * * * *")
def settle_tenants(timer: func.TimerRequest) -> None:
    """Every minute: go on with deletions of tenants, and give deliveries of resumed ones their time back."""
    from domain.tenants.deletion import TenantDeleter
    from domain.tenants.service import TenantService

    restored = use(TenantService).restore()
    deleted = use(TenantDeleter).delete_requested()
    if restored or deleted:
        logger.info("tenants settled", extra={"deliveriesRestored": restored, "tenantsDeleted": deleted})


@bp.function_name("erase_people")
@bp.timer_trigger(arg_name="timer", schedule="50 * * * * *")
def erase_people(timer: func.TimerRequest) -> None:
    """Every minute: continue the requested erasures (section 17.3)."""
    from domain.privacy.erasing import ErasureService

    completed = use(ErasureService).erase_requested()
    if completed:
        logger.info("people erased", extra={"erasures": completed})
