"""Writes the golden files: what Python and kombu make of the values that events carry.

    python make.py json  > json.txt          any Python 3: one document a line, as json.dumps has it
    python make.py kombu > kombu-5.2.4.txt   with that kombu: type, text and document of a value, by tabs
"""
import json
import random
import struct
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

RANDOM = random.Random(20261122)


def floats():
    for exponent in range(-324, 309, 9):
        yield float("1e%d" % exponent)
        yield -float("1.7976931348623157e%d" % exponent)
    for exponent in range(-8, 24):
        yield 10.0**exponent
        yield 1.5 * 10.0**exponent
    while True:
        value = struct.unpack("<d", RANDOM.randbytes(8))[0]
        if value - value == 0:
            yield value


def texts():
    for start in [0, 0x20, 0x7E, 0x80, 0x2028, 0xD7F8, 0xE000, 0xFFF8, 0x10000, 0x10FFF8]:
        yield "".join(map(chr, range(start, start + 8)))
    yield 'a "quoted" \\ path/with/slashes'
    yield "__type__"


def documents():
    yield from [None, True, False, 0, -0.0, "", [], {}, [[]], [{}], {"": {}}, {"a": [1, None]}]
    yield from [2**64 - 1, -(2**63), 2**63, -1]
    yield from texts()
    for text in texts():
        yield {text: [text, {"b": 1, "a": text}]}
    source = floats()
    for _ in range(600):
        yield next(source)
    yield [next(source) for _ in range(10)]


def values():
    zones = [None, timezone.utc] + [
        timezone(timedelta(seconds=seconds)) for seconds in (3600, -19800, 20700, -1, 86399, 3661)
    ]
    days = [date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31)]
    for day in days:
        yield "date", day.isoformat(), day
    for clock in [time(), time(3, 4, 5), time(23, 59, 59, 999999), time(0, 0, 0, 10)]:
        for zone in zones:
            aware = clock.replace(tzinfo=zone)
            yield "time", aware.isoformat(), aware
            for day in days:
                both = datetime.combine(day, aware)
                yield "datetime", both.isoformat(), both
    for text in ["0", "-0", "12.50", "-1E+3", "1E-7", "0E-10", "NaN", "-Infinity", "sNaN12", "9" * 40]:
        yield "decimal", text, Decimal(text)
    for number in [0, 1, 2**128 - 1, 0x0123456789ABCDEF0123456789ABCDEF]:
        yield "uuid", str(UUID(int=number)), UUID(int=number)
    for binary in [b"", b"a", "h\u00e9 \u20ac".encode(), b"\xff\xfe\x00", bytes(range(256))]:
        yield "bytes", binary.hex(), binary


def main(what):
    if what == "json":
        for document in documents():
            print(json.dumps(document, sort_keys=True))
        return
    from kombu.utils import json as kombu_json

    for kind, text, value in values():
        try:
            print(kind, text, kombu_json.dumps(value), sep="\t")
        except TypeError:
            print(kind, text, "", sep="\t")


main(*sys.argv[1:])
