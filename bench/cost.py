"""What a million deliveries cost on Azure: `python -m bench.cost` prints the table of docs/deployment.md.

Prices are list prices in US dollars (pay as you go, West Europe), entered by hand; put in your own contract's, and
check them with the Azure price calculator, https://azure.microsoft.com/pricing/calculator/."""

from __future__ import annotations

from dataclasses import dataclass

DELIVERIES = 1_000_000
#: When the prices below were entered; nothing reads them from Azure.
PRICES_OF, MODEL_PRICES_OF = "2026-12-01", "2026-11-26"
#: Events that reach one webhook each: the dearest case, for an event's own cost is shared by nobody.
BATCH = 32
INSTANCE_GB = 2
MONTH_HOURS = 730

EXECUTIONS_PER_MILLION = 0.40
GB_SECOND = 0.000026
SERVICE_BUS_PER_MILLION_OPERATIONS = 0.80
LOGS_PER_GB = 2.76
TRANSFER_PER_GB = 0.087
SQL_S3_MONTH = 150.0
SIGNALR_UNIT_DAY = 1.61
SERVICE_BUS_PREMIUM_HOUR = 0.928
NAT_GATEWAY_HOUR = 0.045
NAT_GATEWAY_PER_GB = 0.045
PUBLIC_ADDRESS_HOUR = 0.005
PRIVATE_ENDPOINT_HOUR = 0.01
#: Of storage three, one each of the package, Service Bus, SQL and the vault.
PRIVATE_ENDPOINTS = 7
ALWAYS_READY_GB_SECOND = 0.000004
ALWAYS_READY_INSTANCES = 6
#: Which scale apart on Flex Consumption: HTTP, durable, and each function of a timer or a queue.
SCALING_GROUPS = 2 + 29
#: gpt-5.4-mini in a data zone: the global price and a tenth.
PROMPT_TOKENS_PER_MILLION = 0.825
ANSWER_TOKENS_PER_MILLION = 4.95
#: HUB_OPENAI_TOKENS_PER_DAY, and what of it questions take; answers are shorter and dearer.
TOKENS_PER_DAY = 100_000
PROMPT_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the sheet: how much, of what, at which price for one."""

    item: str
    quantity: float
    unit: str
    price: float

    @property
    def dollars(self) -> float:
        return self.quantity * self.price


def per_million(*, prod: bool) -> list[Line]:
    """Return what grows with the deliveries.

    In `prod` Service Bus is Premium, which bills no operations, and what leaves passes a NAT gateway."""
    batches = DELIVERIES / BATCH
    # Intake: 20 ms of an instance that serves eight requests at once. Fan-out and delivery: a batch at a time.
    seconds = DELIVERIES * 0.020 / 8 + batches * 0.10 + batches * 0.30
    # Sent, received, completed: once on domain-events, once on webhook-deliveries.
    operations = DELIVERIES * 3 * 2
    tier = (
        Line("NAT gateway, 4 KB an attempt", DELIVERIES * 4e3 / 1e9, "GB", NAT_GATEWAY_PER_GB)
        if prod
        else Line("Service Bus, operations", operations / 1e6, "million", SERVICE_BUS_PER_MILLION_OPERATIONS)
    )
    return [
        Line("Functions, executions", (DELIVERIES + 2 * batches) / 1e6, "million", EXECUTIONS_PER_MILLION),
        Line("Functions, execution time", seconds * INSTANCE_GB, "GB-s", GB_SECOND),
        Line("Logs, 0.6 KB an attempt", DELIVERIES * 0.6e3 / 1e9, "GB", LOGS_PER_GB),
        Line("Outgoing traffic, 2 KB an attempt", DELIVERIES * 2e3 / 1e9, "GB", TRANSFER_PER_GB),
        tier,
    ]


def per_month() -> list[Line]:
    """Return what stands whether anything is delivered or not, in the tier `prod`."""
    ready = ALWAYS_READY_INSTANCES * INSTANCE_GB * MONTH_HOURS * 3600
    return [
        Line("Azure SQL, S3", 1, "month", SQL_S3_MONTH),
        Line("Functions, always ready", ready, "GB-s", ALWAYS_READY_GB_SECOND),
        Line("Service Bus, Premium", MONTH_HOURS, "hours", SERVICE_BUS_PREMIUM_HOUR),
        Line("NAT gateway", MONTH_HOURS, "hours", NAT_GATEWAY_HOUR),
        Line("Public address", MONTH_HOURS, "hours", PUBLIC_ADDRESS_HOUR),
        Line("Private endpoints, seven", PRIVATE_ENDPOINTS * MONTH_HOURS, "hours", PRIVATE_ENDPOINT_HOUR),
        Line("SignalR, one unit", 30, "days", SIGNALR_UNIT_DAY),
    ]


def zone_redundancy() -> list[Line]:
    """Return what always-ready instances cost instead where the app is to survive the loss of a zone.

    The platform then keeps two of every scaling group, and bills them.
    https://learn.microsoft.com/azure/reliability/reliability-functions"""
    ready = 2 * SCALING_GROUPS * INSTANCE_GB * MONTH_HOURS * 3600
    return [Line("Functions, always ready", ready, "GB-s", ALWAYS_READY_GB_SECOND)]


def per_tenant_month() -> list[Line]:
    """Return what the optional model costs for a tenant that spends its tokens every day, in the usual mix."""
    tokens = 30 * TOKENS_PER_DAY / 1e6
    return [
        Line("Azure OpenAI, questions", tokens * PROMPT_SHARE, "million tokens", PROMPT_TOKENS_PER_MILLION),
        Line(
            "Azure OpenAI, answers", tokens * (1 - PROMPT_SHARE), "million tokens", ANSWER_TOKENS_PER_MILLION
        ),
    ]


def table(lines: list[Line]) -> str:
    """Markdown, with the sum."""
    rows = [
        f"| {line.item} | {_amount(line.quantity)} {line.unit} | ${line.price:.6g} | ${line.dollars:,.2f} |"
        for line in lines
    ]
    total = f"| **together** | | | **${sum(line.dollars for line in lines):,.2f}** |"
    return "\n".join(["| what | how much | price of one | dollars |", "|---|---|---|---|", *rows, total])


def _amount(quantity: float) -> str:
    return f"{quantity:,.0f}" if quantity >= 100 else f"{quantity:.4g}"


def sheet() -> str:
    return (
        f"Prices entered by hand on {PRICES_OF}, those of Azure OpenAI on {MODEL_PRICES_OF}; check them with the "
        "[Azure price calculator](https://azure.microsoft.com/pricing/calculator/).\n\n"
        f"A million deliveries in `dev`:\n\n{table(per_million(prod=False))}\n\n"
        f"The same in `prod`:\n\n{table(per_million(prod=True))}\n\n"
        f"A month of `prod`, used or not:\n\n{table(per_month())}\n\n"
        f"Always ready with `DEPLOY_ZONE_REDUNDANT`, instead:\n\n{table(zone_redundancy())}\n\n"
        "A month of a tenant that spends all tokens that recommendations may cost, where a model words them:\n\n"
        f"{table(per_tenant_month())}\n"
    )


if __name__ == "__main__":
    print(sheet())
