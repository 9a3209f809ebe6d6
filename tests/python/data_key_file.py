"""Envelope encryption of a file with the official Python client: the file is encrypted here, under a data key of which
only the wrapped form is kept. Needs `pip install exoscale cryptography` and the variables of dev.env.

    python data_key_file.py lock   KEY-NAME FILE FILE.locked     (creates the key if there is none of that name)
    python data_key_file.py unlock FILE.locked FILE
"""

import base64
import json
import os
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from exoscale.api.v2 import Client

CHUNK = 1 << 20  # plaintext bytes per AES-256-GCM message


def kms():
    return Client(
        os.environ["EXOSCALE_API_KEY"], os.environ["EXOSCALE_API_SECRET"], url=os.environ["EXOSCALE_API_ENDPOINT"]
    )


def nonce(number, last):
    """Every chunk has its own nonce, and the last one another than if more followed: no chunk can be moved or cut."""
    return struct.pack(">QI", number, last)


def lock(name, source, target):
    client = kms()
    keys = {key["name"]: key["id"] for key in client.list_kms_keys()["kms-keys"]}
    key = keys.get(name) or client.create_kms_key(name=name)["id"]
    context = base64.b64encode(os.path.basename(target).encode()).decode()
    data_key = client.generate_data_key(id=key, key_spec="AES-256", encryption_context=context)
    cipher = AESGCM(base64.b64decode(data_key["plaintext"]))
    header = json.dumps({"key": key, "data-key": data_key["ciphertext"]}).encode()
    with open(source, "rb") as plain, open(target, "wb") as locked:
        locked.write(struct.pack(">I", len(header)) + header)
        number, chunk = 0, plain.read(CHUNK)
        while True:
            following = plain.read(CHUNK)
            locked.write(cipher.encrypt(nonce(number, not following), chunk, header))
            if not following:
                return
            number, chunk = number + 1, following


def unlock(source, target):
    with open(source, "rb") as locked, open(target, "wb") as plain:
        (length,) = struct.unpack(">I", locked.read(4))
        header = locked.read(length)
        wrapped = json.loads(header)
        context = base64.b64encode(os.path.basename(source).encode()).decode()
        data_key = kms().decrypt(id=wrapped["key"], ciphertext=wrapped["data-key"], encryption_context=context)
        cipher = AESGCM(base64.b64decode(data_key["plaintext"]))
        number, chunk = 0, locked.read(CHUNK + 16)
        while True:
            following = locked.read(CHUNK + 16)
            plain.write(cipher.decrypt(nonce(number, not following), chunk, header))
            if not following:
                return
            number, chunk = number + 1, following


if __name__ == "__main__":
    commands = {"lock": lock, "unlock": unlock}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
