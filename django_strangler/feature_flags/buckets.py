"""
A subject's place from 0 to 100 %: the number that nginx's ``split_clients`` computes.

Another hash, seed, byte order or rounding would move most users, and part the gateway
from the monolith.
"""

from __future__ import annotations

from decimal import Decimal
from struct import Struct

EVERYBODY = 1 << 32  # Above every place, so that 100 % leaves nobody out.

_WORD = Struct("<I")


def bucket(salt: str, subject: str) -> int:
    """The place of a subject in the flag with this salt: 0 to 4294967295."""
    # Half a surrogate pair is no reason to fail; whole text comes out as UTF-8.
    return murmur2(f"{salt}:{subject}".encode("utf-8", "surrogatepass"))


def threshold(percentage: Decimal) -> int:
    """Subjects whose place is below this are in."""
    if percentage >= 100:
        return EVERYBODY
    return int(percentage * 100) * 0xFFFFFFFF // 10000


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bit, seed 0, little-endian."""
    hashed = size = len(data)
    for (word,) in _WORD.iter_unpack(data[: size & ~3]):
        word = word * 0x5BD1E995 & 0xFFFFFFFF
        # Masked once for both products: the low bits of a xor are those of its parts.
        hashed = (hashed * 0x5BD1E995 ^ (word ^ word >> 24) * 0x5BD1E995) & 0xFFFFFFFF
    if size & 3:
        tail = int.from_bytes(data[size & ~3 :], "little")
        hashed = (hashed ^ tail) * 0x5BD1E995 & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return hashed ^ hashed >> 15
