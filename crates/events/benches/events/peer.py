"""nameko, for the bench: told what to do a line at a time, and answering with the seconds that it took.

    python peer.py AMQP_URI MAX_WORKERS

`emit EVENT_TYPE COUNT ORDER` emits so many events of `orders`, with confirms; `handle COUNT` handles so many of
`orders.created` in the service `billing`.
"""
import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import json
import sys
import time

from nameko.containers import ServiceContainer
from nameko.events import event_handler
from nameko.standalone.events import event_dispatcher

URI, WORKERS = sys.argv[1], int(sys.argv[2])
CONFIG = {"AMQP_URI": URI, "max_workers": WORKERS}


class Billing:
    name = "billing"
    began, left, done = None, 0, None

    @event_handler("orders", "created")
    def on_created(self, payload):
        cls = type(self)
        if cls.began is None:
            cls.began = time.perf_counter()
        cls.left -= 1
        if cls.left == 0:
            cls.done.send(time.perf_counter())


def emit(event_type, count, order):
    dispatch, payload = event_dispatcher(CONFIG), json.loads(order)
    # The first one connects.
    dispatch("orders", event_type, payload)
    began = time.perf_counter()
    for _ in range(int(count)):
        dispatch("orders", event_type, payload)
    return time.perf_counter() - began


def handle(count):
    Billing.began, Billing.left, Billing.done = None, int(count), eventlet.Event()
    container = ServiceContainer(Billing, CONFIG)
    container.start()
    ended = Billing.done.wait()
    # It takes a second, in which the last of them are acknowledged: not counted.
    container.stop()
    return ended - Billing.began


print("ready", flush=True)
for line in sys.stdin:
    what, *arguments = line.split(maxsplit=3)
    print({"emit": emit, "handle": handle}[what](*arguments), flush=True)
