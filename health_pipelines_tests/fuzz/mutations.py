"""What a vendor might send: documented answers, and what becomes of them on the way.

Belongs here: making one input from a random generator, the same from the same seed. Does not belong here:
what reads it (`parsers.py`).
"""

import json
from random import Random
from typing import Any

# Stands where a patient's value would be. No refusal may hold it; it is no word, which a status may show.
PATIENT = "Zebulon77"
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1 << 70,
    "",
    " ",
    "null",
    PATIENT,
    f"{PATIENT} {PATIENT}",
    [],
    {},
    [[]],
    {"": {}},
    [PATIENT],
    {PATIENT: [PATIENT]},
    "\ud800",
    "x" * 400,
    "2026-02-30T25:61:61",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2026-03-10T10:00:00Z",
    "2026-03-10",
    "99999999999999999999",
)
# Put into a text as they are, since no writer of JSON would write them.
_ODD_NUMBERS = (b"-0", b"1E5", b"1e999999999999999999999", b"NaN", b"-Infinity", b"1.10", b"9" * 5000)
_ODD_BYTES = (
    *(bytes([one]) for one in b'",:[]{}\\\n\r\t\x00 0-.eE'),
    b'""',
    b"\r\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b"null",
    *_ODD_NUMBERS,
    b"[" * 3000,
    b'{"a":' * 2000,
    PATIENT.encode(),
)


def changed_bytes(random: Random, body: bytes) -> bytes:
    """Up to eight pieces cut out, doubled, moved or replaced; one in eight inputs stays as it is."""
    for _ in range(random.randrange(8)):
        at = random.randrange(len(body) + 1)
        end = min(len(body), at + random.choice((0, 1, 1, 2, 8, 64)))
        piece = random.choice((b"", random.choice(_ODD_BYTES), body[at:end] * 2, random.randbytes(3)))
        body = body[:at] + piece + body[end:]
        if random.random() < 0.05:
            body = body[:at]
    return body


def changed_value(random: Random, value: Any) -> Any:
    """A JSON value with some of its parts replaced, left out or doubled, at any depth."""
    if random.random() < 0.12:
        return random.choice(_ODD_VALUES)
    if isinstance(value, dict):
        kept = {name: changed_value(random, one) for name, one in value.items() if random.random() > 0.04}
        if random.random() < 0.04:
            kept[random.choice((PATIENT, "", "id", "uuid"))] = random.choice(_ODD_VALUES)
        return kept
    if isinstance(value, list):
        items = [changed_value(random, one) for one in value if random.random() > 0.04]
        return items * 2 if random.random() < 0.04 else items
    return value


def changed_json(random: Random, value: Any) -> bytes:
    """The JSON text of a value, of which parts, or then bytes, are others."""
    body = json.dumps(value if random.random() < 0.4 else changed_value(random, value)).encode()
    if random.random() < 0.2:
        body = body.replace(b"0", random.choice(_ODD_NUMBERS), 1)
    return changed_bytes(random, body) if random.random() < 0.4 else body


def csv_body(random: Random) -> bytes:
    """A table as AWS Athena writes it, of which bytes are others."""
    width = random.randrange(1, 6)
    values = ('"1"', '""', "", '"NA"', '"a ""quote"""', '"two\nlines"', '"a,b"', "007", f'"{PATIENT}"', '"é"')
    header = ",".join(f'"column {number}"' for number in range(width))
    end = random.choice(("\n", "\r\n"))
    lines = [header, *(",".join(random.choices(values, k=width)) for _ in range(random.randrange(6)))]
    return changed_bytes(random, (end.join(lines) + random.choice(("", end))).encode())


def text(random: Random, *examples: str) -> str:
    """One of the examples, of which characters are others."""
    body = changed_bytes(random, random.choice(examples).encode())
    return body.decode("latin-1" if random.random() < 0.3 else "utf-8", errors="replace")
