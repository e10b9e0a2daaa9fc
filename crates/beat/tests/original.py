"""beatit from PyPI over nats-py, driven by tests/beatit.rs.

print NUMBER...             prints what beatit publishes for each number of seconds, a Python literal
play URL PROCESS CALL...    publishes the calls of a heart: start/60 beat/5 degraded/5 stop, wait/1.1 in between
readme URL                  runs the sessions of beatit's README, which say what they print, and publishes that, too
record URL COUNT            prints `ready`, then COUNT messages under heartbeat.> as hex: subject, then payload
"""

import ast
import asyncio
import doctest
import sys
import threading
from importlib import metadata

import beatit
import nats
from beatit import Heart


class Nats:
    def __init__(self, client):
        self.client = client

    async def publish(self, *, subject, payload):
        await self.client.publish(subject, payload)


class Printer:
    @staticmethod
    def publish(*, subject, payload):
        print(f"{subject.decode()} {payload.decode()}")


def print_numbers(*numbers):
    heart = Heart("a", publisher=Printer)
    for number in numbers:
        heart.start(warmup=ast.literal_eval(number))


async def play(url, process, *calls):
    client = await nats.connect(url)
    heart = Heart(process, publisher=Nats(client), subject_as_string=True)
    for call in calls:
        verb, _, number = call.partition("/")
        number = ast.literal_eval(number) if number else None
        if verb == "start":
            await heart.start(warmup=number)
        elif verb == "beat":
            await heart.beat(period=number)
        elif verb == "degraded":
            await heart.degraded(period=number)
        elif verb == "stop":
            await heart.stop()
        elif verb == "wait":
            await client.flush()
            await asyncio.sleep(number)
        else:
            raise ValueError(call)
    await client.flush()
    await client.close()


def readme(url):
    # The sessions are synchronous, or have a loop for each call: the client lives in one beside them.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=20)

    client = wait(nats.connect(url))

    def heart(process, *, publisher, **options):
        class Both:
            @staticmethod
            def publish(*, subject, payload):
                wait(client.publish(subject if isinstance(subject, str) else subject.decode(), payload))
                return publisher.publish(subject=subject, payload=payload)

        heart = Heart(process, publisher=publisher, **options)
        heart.publisher = Both
        return heart

    beatit.Heart = heart
    text = metadata.metadata("beatit").get_payload()
    session = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    failed, tried = doctest.DocTestRunner().run(session)
    assert tried and not failed, f"{failed} of {tried} steps"
    wait(client.close())


async def record(url, count):
    client = await nats.connect(url)
    heard = await client.subscribe("heartbeat.>")
    await client.flush()
    print("ready", flush=True)
    for _ in range(int(count)):
        message = await heard.next_msg(timeout=20)
        assert not message.headers, message.headers
        print(message.subject.encode().hex(), message.data.hex(), flush=True)
    await client.close()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "print":
        print_numbers(*arguments)
    elif command == "readme":
        readme(*arguments)
    else:
        asyncio.run({"play": play, "record": record}[command](*arguments))
