"""Encrypts a file of any size under a data key, and keeps only the wrapped data key beside it.

    data_key_file.py seal KEY_ID FILE SEALED     writes SEALED and SEALED.key
    data_key_file.py open SEALED FILE            writes FILE

Needs exoscale==0.16.4 and cryptography==50.0.2, and the four variables of dev.env.

SEALED is a row of chunks: 12 bytes of nonce, then up to 1 MiB of plaintext under AES-256-GCM with a tag of 16 bytes.
The nonce counts the chunks and its first byte marks the last one, so that chunks can be neither reordered nor cut off.
One data key seals one file, so counting is enough: no nonce repeats under a key.
"""

import base64
import json
import os
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from exoscale.api.v2 import Client

CHUNK = 1024 * 1024
TAG = 16


def client():
    return Client(
        os.environ["EXOSCALE_API_KEY"],
        os.environ["EXOSCALE_API_SECRET"],
        url=os.environ["EXOSCALE_API_ENDPOINT"],
    )


def nonce(number, last):
    return bytes([last]) + number.to_bytes(11, "big")


def seal(key_id, source, target):
    context = base64.b64encode(b"data_key_file.py").decode()
    data_key = client().generate_data_key(id=key_id, encryption_context=context)
    cipher = AESGCM(base64.b64decode(data_key["plaintext"]))
    with open(source, "rb") as plain, open(target, "wb") as sealed:
        number, chunk = 0, plain.read(CHUNK)
        while True:
            following = plain.read(CHUNK)
            this = nonce(number, last=not following)
            sealed.write(this + cipher.encrypt(this, chunk, None))
            if not following:
                break
            number, chunk = number + 1, following
    with open(target + ".key", "w") as note:
        json.dump({"key": key_id, "wrapped": data_key["ciphertext"], "context": context}, note)


def unseal(source, target):
    with open(source + ".key") as note:
        wrapped = json.load(note)
    data_key = client().decrypt(
        id=wrapped["key"], ciphertext=wrapped["wrapped"], encryption_context=wrapped["context"]
    )
    cipher = AESGCM(base64.b64decode(data_key["plaintext"]))
    with open(source, "rb") as sealed, open(target, "wb") as plain:
        number, last = 0, False
        while not last:
            chunk = sealed.read(12 + CHUNK + TAG)
            last = chunk[:1] == b"\x01"
            if chunk[:12] != nonce(number, last):
                raise SystemExit(f"{source}: chunk {number} is missing or out of place")
            plain.write(cipher.decrypt(chunk[:12], chunk[12:], None))
            number += 1
        if sealed.read(1):
            raise SystemExit(f"{source}: something follows the last chunk")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seal", key_id, source, target]:
            seal(key_id, source, target)
        case ["open", source, target]:
            unseal(source, target)
        case _:
            raise SystemExit(__doc__)
