"""The AMQP 1.0 side of the endpoint: connections, links, transfers, dispositions. One thread, proton's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proton import Condition, Delivery, Disposition, Endpoint, Handler, Link, Message, Receiver, Sender
from proton.reactor import ApplicationEvent, Container, EventInjector

from tests.loopback.servicebus import management, tokens, wire
from tests.loopback.servicebus.entities import Entity, LockLost

MAX_TRANSFER_BYTES = 256 * 1024
"""Service Bus Standard: of a message, and of a batch."""

_CREDIT = 100
_TICK_SECONDS = 0.01
_MANAGEMENT = "/$management"


class BusHandler(Handler):
    """Serves `entities` by name. Everything is called on the container's thread; `ask` hands work to it."""

    def __init__(self, entities: Mapping[str, Entity], port: int, listening: Callable[[], None]) -> None:
        super().__init__()
        self._entities = entities
        self._port = port
        self._listening = listening
        self._injector = EventInjector()
        self._container: Container | None = None
        self._acceptor: Any = None
        self._connections: set[Any] = set()
        self._admitted: set[tuple[Any, str]] = set()
        self._links: dict[str, list[Sender]] = {}
        self._replies: list[Sender] = []
        self._tag = 0

    def ask(self, work: Callable[[], None]) -> None:
        """Have `work` done on the container's thread. From any thread."""
        self._injector.trigger(ApplicationEvent("asked", subject=work))

    def on_asked(self, event: Any) -> None:
        event.subject()

    # -- what a test commands (on the container's thread) ---------------------------------------------------

    def listen(self) -> None:
        """Take connections."""
        assert self._container is not None
        if self._acceptor is None:
            self._acceptor = self._container.listen(f"127.0.0.1:{self._port}")

    def vanish(self) -> None:
        """Refuse connections, and break those there are, without a word."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        self.break_connections()

    def break_connections(self) -> None:
        """Cut every connection without a word."""
        for connection in list(self._connections):
            transport = connection.transport
            if transport is not None:
                transport.close_tail()
                transport.close_head()
                if (selectable := transport._selectable) is not None:
                    selectable.terminate()
                    selectable.update()
            self._forget(connection)

    def detach(self, condition: str) -> None:
        """Close every link of a queue from this side, as an upgrade of the service does."""
        for connection in self._connections:
            link = connection.link_head(Endpoint.LOCAL_ACTIVE)
            while link is not None:
                following = link.next(Endpoint.LOCAL_ACTIVE)
                if _entity_name(link) in self._entities:
                    link.condition = Condition(condition, "The link is detached by the test")
                    link.close()
                link = following
        self._links.clear()

    def stop(self) -> None:
        """End the container."""
        self.vanish()
        self._injector.close()
        assert self._container is not None
        self._container.stop()

    # -- the reactor's events -------------------------------------------------------------------------------

    def on_reactor_init(self, event: Any) -> None:
        self._container = event.reactor
        event.reactor.selectable(self._injector)
        event.reactor.schedule(_TICK_SECONDS, self)
        self.listen()
        self._listening()

    def on_timer_task(self, event: Any) -> None:
        for name, entity in self._entities.items():
            if entity.tick():
                self._deliver(name)
        event.reactor.schedule(_TICK_SECONDS, self)

    def on_connection_remote_open(self, event: Any) -> None:
        self._connections.add(event.connection)
        event.connection.container = "loopback"
        event.connection.open()

    def on_session_remote_open(self, event: Any) -> None:
        event.session.open()

    def on_session_remote_close(self, event: Any) -> None:
        event.session.close()

    def on_connection_remote_close(self, event: Any) -> None:
        event.connection.close()
        self._forget(event.connection)

    def on_transport_closed(self, event: Any) -> None:
        if event.connection is not None:
            self._forget(event.connection)

    def on_link_remote_open(self, event: Any) -> None:
        link: Link = event.link
        name = _entity_name(link)
        queue = name.removesuffix(_MANAGEMENT)
        if name != "$cbs" and queue not in self._entities:
            _refuse_link(link, "amqp:not-found", f"There is no entity '{queue}'")
            return
        if name != "$cbs" and (link.connection, queue.partition("/")[0]) not in self._admitted:
            _refuse_link(link, "amqp:unauthorized-access", f"No token was put for '{queue}'")
            return
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.snd_settle_mode, link.rcv_settle_mode = link.remote_snd_settle_mode, link.remote_rcv_settle_mode
        link.max_message_size = MAX_TRANSFER_BYTES
        link.open()
        if link.is_receiver:
            link.flow(_CREDIT)
        elif name in self._entities:
            self._links.setdefault(queue, []).append(link)
        else:
            self._replies.append(link)

    def on_link_remote_close(self, event: Any) -> None:
        self._drop(event.link)
        event.link.close()

    def on_link_remote_detach(self, event: Any) -> None:
        self._drop(event.link)
        event.link.detach()

    def on_link_flow(self, event: Any) -> None:
        link = event.link
        if link.is_sender and link.state & Endpoint.LOCAL_ACTIVE:
            if (name := _entity_name(link)) in self._entities:
                self._deliver(name)
            if link.drain_mode:
                link.drained()

    def on_delivery(self, event: Any) -> None:
        delivery: Delivery = event.delivery
        link = delivery.link
        if link.is_receiver:
            if delivery.readable and not delivery.partial:
                self._received(link, delivery, link.recv(delivery.pending))
        elif delivery.updated and _entity_name(link) in self._entities:
            self._settled(self._entities[_entity_name(link)], delivery)
            self._deliver(_entity_name(link))
        elif delivery.settled:
            delivery.settle()

    # -- transfers -----------------------------------------------------------------------------------------

    def _received(self, link: Receiver, delivery: Delivery, payload: bytes) -> None:
        link.advance()
        name = _entity_name(link)
        if len(payload) > MAX_TRANSFER_BYTES:
            _refuse(delivery, "amqp:link:message-size-exceeded")
        elif name in self._entities:
            entity = self._entities[name]
            for message in wire.messages_in(payload):
                entity.add(message, wire.scheduled_at(message))
            delivery.update(Disposition.ACCEPTED)
            delivery.settle()
            self._deliver(name)
        else:
            request = Message()
            request.decode(payload)
            delivery.update(Disposition.ACCEPTED)
            delivery.settle()
            self._reply(link, name, request)
        link.flow(1)

    def _reply(self, asked: Receiver, name: str, request: Message) -> None:
        queue = name.removesuffix(_MANAGEMENT)
        if name == "$cbs":
            admitted, reply = tokens.put_token(request)
            if admitted is not None:
                self._admitted.add((asked.connection, admitted))
        else:
            reply = management.answer(self._entities[queue], request)
        # The SDK names no reply address: the answer goes over the node's other link of the same session.
        for link in [
            each for each in self._replies if each.session == asked.session and _entity_name(each) == name
        ]:
            self._tag += 1
            delivery = link.delivery(str(self._tag))
            link.stream(reply.encode())
            link.advance()
            delivery.settle()
        if queue in self._entities:
            self._deliver(queue)

    def _deliver(self, name: str) -> None:
        entity = self._entities[name]
        links = self._links.get(name, [])
        while (ready := [link for link in links if link.credit > 0]) and (
            stored := entity.take()
        ) is not None:
            link = ready[0]
            # In turn, as competing consumers.
            links.remove(link)
            links.append(link)
            lock = str(stored.lock)
            delivery = link.delivery(lock)
            link.stream(wire.encoded(stored))
            link.advance()
            if link.remote_snd_settle_mode == Link.SND_SETTLED:
                delivery.settle()
                entity.complete(lock)

    def _settled(self, entity: Entity, delivery: Delivery) -> None:
        lock, state, remote = delivery.tag, delivery.remote_state, delivery.remote
        try:
            if state == Disposition.ACCEPTED:
                entity.complete(lock)
            elif state == Disposition.REJECTED:
                info = dict((remote.condition.info if remote.condition else None) or {})
                entity.kill(lock, info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription"))
            elif state == Disposition.MODIFIED:
                (entity.defer if remote.undeliverable else entity.abandon)(lock)
            elif state == Disposition.RELEASED:
                entity.release(lock)
            elif not delivery.settled:
                return
        except LockLost:
            _refuse(delivery, "com.microsoft:message-lock-lost")
            return
        delivery.update(state)
        delivery.settle()

    def _drop(self, link: Link) -> None:
        for links in self._links.values():
            if link in links:
                links.remove(link)
        self._replies = [each for each in self._replies if each != link]

    def _forget(self, connection: Any) -> None:
        self._connections.discard(connection)
        self._admitted = {each for each in self._admitted if each[0] != connection}
        for links in self._links.values():
            links[:] = [link for link in links if link.connection != connection]
        self._replies = [link for link in self._replies if link.connection != connection]


def _entity_name(link: Link) -> str:
    end = link.remote_target if link.is_receiver else link.remote_source
    return wire.entity_of(end.address)


def _refuse_link(link: Link, condition: str, why: str) -> None:
    """By an attach without source and target, then a detach (OASIS AMQP 1.0, 2.6.3)."""
    link.condition = Condition(condition, why)
    link.open()
    link.close()


def _refuse(delivery: Delivery, condition: str) -> None:
    delivery.local.condition = Condition(condition, "refused by the endpoint")
    delivery.update(Disposition.REJECTED)
    delivery.settle()
