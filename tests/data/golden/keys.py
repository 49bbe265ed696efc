#!/usr/bin/env python3
"""Makes the golden bytes of control commands, keyring, applied row and IDENTITY from their drawings alone.

A second implementation: it shares nothing with the crate. Needs the `cryptography` package; run it in this directory.
Random bytes are 00, 01, 02, ... in the order in which the program draws them.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEK = bytes(range(0x40, 0x60))
CLUSTER = bytes(range(0xA0, 0xB0))
CLEAR_NAMES = bytes([0xCC]) * 32
NODE = 7


def hkdf(key, label, n, salt=b"", *parts):
    return HKDF(hashes.SHA256(), n, salt, label.encode() + b"".join(parts)).derive(key)


class Counting:
    def __init__(self):
        self.next = 0

    def draw(self, n):
        out = bytes((self.next + i) & 0xFF for i in range(n))
        self.next += n
        return out


KEK_ID = hkdf(KEK, "sealkv kek id", 8)


def wrap(key, nonce, label, *parts):
    aad = label.encode() + KEK_ID + b"".join(parts)
    return KEK_ID + nonce + AESGCM(KEK).encrypt(nonce, key, aad)


def check(key):
    return hkdf(key, "sealkv check", 8)


def new_key(entropy, key_id, purpose):
    key = entropy.draw(32)
    nonce = entropy.draw(12)
    place = CLUSTER + struct.pack(">IB", key_id, purpose)
    return key, check(key) + wrap(key, nonce, "sealkv dek", place)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def dek(key_id, purpose, state, active_from, new):
    return struct.pack(">IBBQ", key_id, purpose, state, active_from) + new


golden = {"kek-id": KEK_ID, "kek-check": hkdf(KEK, "sealkv kek check", 8, b"", CLUSTER)}

random = Counting()
_, entry = new_key(random, 1, 1)
_, value = new_key(random, 2, 2)
mac_key, mac = new_key(random, 0, 3)
_, name = new_key(random, 0, 4)
golden["bootstrap"] = b"\x03\x01\x01" + CLUSTER + entry + value + mac + name
salt = Counting().draw(32)
golden["opener"] = b"\x03\x03" + struct.pack(">Q", 2) + salt
golden["cutover"] = bytes.fromhex("030200000001")
golden["retire"] = bytes.fromhex("030500000001")
golden["names"] = b"\x03\x06" + b"\xcc" * 32
random = Counting()
random.draw(100)
_, entry3 = new_key(random, 3, 1)
golden["rotate"] = b"\x03\x04" + struct.pack(">IB", 3, 1) + entry3

# Bootstrap as the cutover at (2, 3), opener at (2, 4), rotation of the entry DEK at (2, 9), retirement of key 1 at (2, 10).
head = b"\x02" + CLUSTER + struct.pack(">Q", 3) + b"\x02\x03\x00"
no_opener = bytes(48)
opener = struct.pack(">QQ", 2, 4) + salt
golden["keyring-new"] = (
    head + struct.pack(">III", 3, 1, 2) + no_opener + mac + b"\x01" + name + struct.pack(">H", 2)
    + dek(1, 1, 1, 3, entry) + dek(2, 2, 1, 3, value)
)
golden["keyring-old"] = (
    head + struct.pack(">III", 4, 3, 2) + opener + mac + b"\x01" + name + struct.pack(">H", 3)
    + dek(1, 1, 3, 3, entry[:8] + bytes(68)) + dek(2, 2, 1, 3, value) + dek(3, 1, 1, 9, entry3)
)

# Clients wrote before the bootstrap at (2, 9), which was no cutover: rows stay under names from the clear name key.
golden["keyring-clear"] = (
    b"\x02" + CLUSTER + b"\xff" * 8 + b"\x02\x03\x01" + struct.pack(">III", 3, 1, 2) + no_opener + mac
    + bytes(1 + 8 + 68) + struct.pack(">H", 2) + dek(1, 1, 1, 9, entry) + dek(2, 2, 1, 9, value)
)

conf = struct.pack(">HQQQ", 3, 5, 6, 7) + struct.pack(">H", 0) + struct.pack(">HQ", 1, 9) + struct.pack(">H", 0) + b"\x00"
members = struct.pack(">H", 2) + struct.pack(">QH", 5, 6) + b"a:6379" + struct.pack(">QH", 7, 0)
facts = CLUSTER + CLEAR_NAMES + struct.pack(">QQQ", 10, 2, 1700000000123) + conf + members
golden["applied-clear"] = b"\x02\x01" + facts
keyed = b"\x02\x03" + facts + hashlib.sha256(golden["keyring-old"]).digest()
golden["applied"] = keyed + hmac.new(hkdf(mac_key, "sealkv applied", 32), keyed, "sha256").digest()

who = b"SKVIDENT" + struct.pack(">IIIQ", 1, 2, 3, NODE) + CLUSTER + struct.pack(">I", 8)
clear = who + b"\x00"
golden["identity-clear"] = clear + struct.pack(">I", crc32c(clear))
random = Counting()
log_key, nonce = random.draw(32), random.draw(12)
sealed = who + b"\x01" + wrap(log_key, nonce, "sealkv log", CLUSTER, bytes(8) + struct.pack(">Q", NODE))
golden["identity-sealed"] = sealed + hmac.new(hkdf(log_key, "sealkv identity", 32), sealed, "sha256").digest()

with open("keys.txt", "w") as out:
    for name, data in golden.items():
        out.write(f"{name} {data.hex()}\n")
