"""A Service Bus endpoint on loopback, for the real SDK to talk to. Needs python-qpid-proton.

    with running() as namespace:
        ServiceBusClient.from_connection_string(namespace.connection_string)

What it does and does not do is in docs/testing-azure.md.
"""

from tests.loopback.servicebus.entities import QueueRules
from tests.loopback.servicebus.namespace import DEAD, QUEUES, Namespace, running

__all__ = ["DEAD", "QUEUES", "Namespace", "QueueRules", "running"]
