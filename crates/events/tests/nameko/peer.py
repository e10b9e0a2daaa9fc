"""nameko services in one process, for the tests: told what to do by lines of JSON, and telling what happens by others.

    python peer.py AMQP_URI [--traced]

Payloads are told as Python expressions, and shown as their `repr`, so that no value is lost on the way.
"""
import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import contextlib
import datetime
import decimal
import json
import os
import sys
import threading
import traceback
import uuid

import nameko
from eventlet import tpool
from eventlet.semaphore import Semaphore
from nameko.containers import ServiceContainer
from nameko.events import BROADCAST, SERVICE_POOL, SINGLETON, EventDispatcher, EventHandler
from nameko.extensions import DependencyProvider
from nameko.standalone.events import event_dispatcher
from nameko.testing.services import dummy, entrypoint_hook

try:
    from nameko_amqp_retry import Backoff, BackoffPublisher
except ImportError:
    Backoff = BackoffPublisher = None

# Before 3.0 the configuration is an argument of each container.
GLOBAL = getattr(nameko, "config", None)

current_span = None
if "--traced" in sys.argv:
    from nameko_opentelemetry import NamekoInstrumentor
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    NamekoInstrumentor().instrument()
    # Those that it has put in place.
    from nameko.standalone.events import event_dispatcher  # noqa: F811

    current_span = trace.get_current_span

KINDS = {"pool": SERVICE_POOL, "singleton": SINGLETON, "broadcast": BROADCAST}
NAMES = {"datetime": datetime, "decimal": decimal, "uuid": uuid, "nan": float("nan")}
WRITING = threading.Lock()


def tell(**what):
    line = json.dumps(what, default=repr)
    with WRITING:
        sys.__stdout__.write(line + "\n")
        sys.__stdout__.flush()


def span():
    """The W3C ids of the span that this runs in, where it is traced."""
    if current_span is None:
        return None
    its = current_span()
    ids = its.get_span_context()
    return {
        "trace": f"{ids.trace_id:032x}",
        "id": f"{ids.span_id:016x}",
        "parent": its.parent and f"{its.parent.span_id:016x}",
    }


class Worker(DependencyProvider):
    """What a worker knows of its call."""

    def get_dependency(self, worker_ctx):
        return worker_ctx


class Handler(EventHandler):
    def __init__(self, *args, tag=None, identifier=None, prefix=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.tag, self.identifier = tag, identifier
        if prefix:
            self.header_prefix = prefix

    @property
    def broadcast_identifier(self):
        if self.identifier is not None:
            return self.identifier
        return super().broadcast_identifier

    def handle_message(self, body, message):
        info = message.delivery_info
        tell(
            tag=self.tag,
            told="received",
            method=self.method_name,
            redelivered=bool(info.get("redelivered")),
            exchange=info.get("exchange"),
            key=info.get("routing_key"),
            headers=message.headers,
            properties={k: v for k, v in message.properties.items() if k != "application_headers"},
        )
        super().handle_message(body, message)


class RetryingHandler(Handler):
    """As nameko-amqp-retry's own, on top of ours."""

    if BackoffPublisher:
        backoff_publisher = BackoffPublisher()

    def handle_result(self, message, worker_ctx, result=None, exc_info=None):
        if exc_info is not None and isinstance(exc_info[1], Backoff):
            message.headers["nameko.call_id_stack"] = worker_ctx.call_id_stack
            message.headers["nameko.call_id_stack"][-1] += ".backoff"
            try:
                self.backoff_publisher.republish(exc_info[1], message, self.queue.name)
                tell(
                    tag=self.tag,
                    told="backoff",
                    attempts=exc_info[1]._total_attempts,
                )
            except Backoff.Expired:
                exc_info, result = sys.exc_info(), None
        return super().handle_result(message, worker_ctx, result, exc_info)


if Backoff:

    class Short(Backoff):
        schedule = (60,)
        limit = 0
        random_sigma = 0


def method(spec, tag, name):
    then = spec.get("then", {})
    failures = [then.get("fail", 0)]

    def handle(self, payload):
        worker = self.worker
        try:
            as_json = json.loads(json.dumps(payload))
        except (TypeError, ValueError):
            as_json = None
        tell(
            tag=tag,
            told="handled",
            name=name,
            method=spec["method"],
            payload=repr(payload),
            json=as_json,
            context=dict(worker.data),
            call_id=worker.call_id,
            stack=worker.call_id_stack,
            origin=worker.origin_call_id,
            parent=worker.immediate_parent_call_id,
            span=span(),
        )
        if "hold" in then:
            eventlet.sleep(then["hold"])
        if "emit" in then:
            self.dispatch(then["emit"], payload)
        if failures[0]:
            failures[0] -= 1
            raise Short() if then.get("backoff") else ValueError("told to fail")

    handle.__name__ = spec["method"]
    return handle


class Peer:
    def __init__(self, uri):
        self.uri = uri
        self.containers = {}
        self.emitters = {}
        self.configuring = Semaphore()

    @contextlib.contextmanager
    def configured(self, more):
        """Arguments that say the configuration, where they do: from 3.0 on it is one for all, read while they start."""
        config = dict({"AMQP_URI": self.uri}, **(more or {}))
        if GLOBAL is None:
            yield (config,)
            return
        with self.configuring:
            GLOBAL.setup(config)
            yield ()

    def start(self, tag, name, service, handlers, config=None, dispatcher=None):
        members = {
            "name": service,
            "dispatch": EventDispatcher(**(dispatcher or {})),
            "worker": Worker(),
        }
        for spec in handlers:
            entry = RetryingHandler if spec.get("then", {}).get("backoff") else Handler
            members[spec["method"]] = entry.decorator(
                spec["source"],
                spec["type"],
                handler_type=KINDS[spec.get("kind", "pool")],
                reliable_delivery=spec.get("reliable", True),
                requeue_on_error=spec.get("requeue", False),
                tag=tag,
                identifier=spec.get("identifier"),
                prefix=spec.get("prefix"),
            )(method(spec, tag, name))
        with self.configured(config) as configuration:
            container = ServiceContainer(type("Service", (), members), *configuration)
            self.containers[tag, name] = container
            container.start()
        eventlet.spawn_n(self.watch, tag, name, container)

    def watch(self, tag, name, container):
        """Tells when it ends by an error: whatever runs it would end, too."""
        try:
            container.wait()
        except Exception as err:
            tell(tag=tag, told="died", name=name, error=repr(err))

    def stop(self, tag, name):
        self.containers.pop((tag, name)).stop()

    def kill(self, tag, name):
        self.containers.pop((tag, name)).kill()

    def emit(self, tag, source, type, payload, context=None, config=None, prefix=None, **options):
        payload = eval(payload, dict(NAMES))
        if context is None:
            with self.configured(config) as configuration:
                event_dispatcher(*configuration, **options)(source, type, payload)
            return
        key = json.dumps([tag, source, config, prefix, options], sort_keys=True)
        if key not in self.emitters:
            self.emitters[key] = self.emitter(source, config, prefix, options)
        with entrypoint_hook(self.emitters[key], "emit", context_data=context) as emit:
            emit(type, payload)

    def emitter(self, source, config, prefix, options):
        class Dispatcher(EventDispatcher):
            # Not to be chosen from 3.0 on.
            if prefix:
                header_prefix = prefix

        class Emitter:
            name = source
            dispatch = Dispatcher(**options)

            @dummy
            def emit(self, type, payload):
                self.dispatch(type, payload)

        with self.configured(config) as configuration:
            container = ServiceContainer(Emitter, *configuration)
            container.start()
        return container

    def obey(self, do, number, tag, **arguments):
        try:
            getattr(self, do)(tag, **arguments)
        except Exception as err:
            tell(tag=tag, told="failed", number=number, error=repr(err), trace=traceback.format_exc())
        else:
            tell(tag=tag, told="done", number=number)


def main():
    peer = Peer(sys.argv[1])
    lines = sys.stdin.buffer
    while True:
        line = tpool.execute(lines.readline)
        if not line:
            break
        eventlet.spawn_n(lambda command: peer.obey(**command), json.loads(line))
    # Whoever told us is gone; containers would not end by themselves.
    os._exit(0)


if __name__ == "__main__":
    main()
