"""A beatit heart over nats-py: original.py URL PROCESS CALL..., calls as start/60 beat/5 degraded/5 stop wait/1.1."""

import ast
import asyncio
import sys

import nats
from beatit import Heart


class Nats:
    def __init__(self, client):
        self.client = client

    async def publish(self, *, subject, payload):
        await self.client.publish(subject, payload)


async def main(url, process, *calls):
    client = await nats.connect(url)
    heart = Heart(process, publisher=Nats(client), subject_as_string=True)
    for call in calls:
        verb, _, number = call.partition("/")
        if verb == "start":
            await heart.start(warmup=ast.literal_eval(number))
        elif verb == "beat":
            await heart.beat(period=ast.literal_eval(number))
        elif verb == "degraded":
            await heart.degraded(period=ast.literal_eval(number))
        elif verb == "stop":
            await heart.stop()
        else:
            await client.flush()
            await asyncio.sleep(float(number))
    await client.flush()
    await client.close()


asyncio.run(main(*sys.argv[1:]))
