"""Mutations of bytes and of texts: small damage, foreign pieces, other inputs' parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

MAX_BYTES: Final = 64 * 1024
"""Of a mutated input. Larger ones are the limits' own tests."""

PIECES: Final[tuple[bytes, ...]] = (
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x80" * 11,
    b"\xed\xa0\x80",
    b"\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\x1b]0;title\x07\x1b[2J",
    b"\r\n",
    b"\\ud800",
    b"\\u0000",
    b"[1]",
    b"[1, 2",
    b"[99999999999999999999]",
    b"[\xd9\xa1]",
    b"```\n",
    b"`",
    b"e.g. ",
    b"<script>",
    b"<!--",
    b"]]>",
    b"</",
    b"&#x110000;",
    b"&amp;lt;",
    b"<|end|>",
    b"[" * 300,
    b"{" * 300,
    b'{"a":' * 120,
    b"(" * 300,
    b"9" * 5_000,
    b"-1e999",
    b"NaN",
    b"1e-400",
    b"true",
    b"null",
    b'"',
    b"root ::= ",
    b"{0,99999}",
    b"| ",
    b"[^\\x00-\\U0010FFFF]",
    b'{"$ref":"#"}',
    b'{"type":"string","pattern":"(a|b)*"}',
    b"9999-99-99",
    b"0001-01-01T00:00:00+23:59",
    b"http://[::1",
    b"https://xn--\xc3\xbc/",
)


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """The bytes with one to six mutations; `others` are what pieces may be taken from."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(8):
            case 0 if out:
                out[at % len(out)] ^= 1 << chance.randrange(8)
            case 1 if out:
                out[at % len(out)] = chance.randrange(256)
            case 2:
                del out[at : at + chance.choice((1, 2, 8, 64, 1_024))]
            case 3:
                out[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))
            case 4:
                out[at:at] = chance.choice(PIECES)
            case 5:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                out[at:at] = other[start : start + chance.choice((4, 32, 512))]
            case 6:
                piece = bytes(out[at : at + chance.choice((1, 8, 64))])
                out[at:at] = piece * chance.choice((1, 2, 16))
            case _:
                del out[at:]
    return bytes(out[:MAX_BYTES])
