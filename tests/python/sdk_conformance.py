"""Drives all 16 operations with an official client: what each is for, and each of its named errors that can be had
in one zone. Usage: sdk_conformance.py OPENAPI.json OPENAPI.json"""

import re
import sys
import uuid

import exoscale

from recorded import Recorder, advance, b64, check_the_checker, client, refused

# Every pair of operation and outcome that this script must have seen when it is done. Left out: what only
# a replica answers ("Not on Replica" and "Not on a Replica": see zones.py), and what a server with one kind of key cannot
# answer ("Invalid Origin", "Invalid Usage").
WANTED = {
    "list-kms-keys": {"success", "Bad Request"},
    "create-kms-key": {"success", "Name Conflict", "Bad Request"},
    "get-kms-key": {"success", "Key Not Found"},
    "enable-kms-key": {"success", "Key Not Found", "Key is Pending Deletion"},
    "disable-kms-key": {"success", "Key Not Found", "Key is Pending Deletion", "Not on Default"},
    "rotate-kms-key": {
        "success", "Key Not Found", "Key is Pending Deletion", "Key is Disabled", "Manual Rotation Limit",
    },
    "enable-kms-key-rotation": {
        "success", "Key Not Found", "Not on Default", "Key is Pending Deletion", "Key is Disabled", "Conflict",
        "Bad Request",
    },
    "disable-kms-key-rotation": {
        "success", "Key Not Found", "Not on Default", "Key is Pending Deletion", "Key is Disabled", "Conflict",
    },
    "list-kms-key-rotations": {"success", "Key Not Found"},
    "replicate-kms-key": {
        "success", "Key Not Found", "Key is Pending Deletion", "Not on Default", "Not Multizone", "Invalid Argument",
        "Conflict",
    },
    "schedule-kms-key-deletion": {"success", "Key Not Found", "Not on Default", "Bad Request"},
    "cancel-kms-key-deletion": {"success", "Key Not Found", "Not Pending Deletion"},
    "encrypt": {"success", "Key Not Found", "Key is Disabled", "Key is Pending Deletion", "Bad Request"},
    "decrypt": {"success", "Key Not Found", "Key is Disabled", "Key is Pending Deletion", "Bad Request"},
    "re-encrypt": {"success", "Key Not Found", "Key is Disabled", "Key is Pending Deletion", "Not on Default", "Bad Request"},
    "generate-data-key": {"success", "Key Not Found", "Key is Disabled", "Key is Pending Deletion", "Bad Request"},
    "list-zones": {"success"},
    "get-operation": {"Operation Not Found"},
}

NANOSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def happy_path(c, prefix):
    names = [zone["name"] for zone in c.list_zones()["zones"]]
    assert "ch-gva-2" in names and len(names) == len(set(names)), names

    key = c.create_kms_key(name=f"{prefix} clé-ключ", description="two\nlines", usage="encrypt-decrypt", multi_zone=True)
    k = key["id"]
    assert uuid.UUID(k).version == 7, k
    assert key["status"] == "enabled" and key["multi-zone"] is True and key["source"] == "exoscale-kms", key
    assert key["material"]["version"] == 1 and key["material"]["automatic"] is False, key
    assert key["rotation"]["automatic"] is True and key["rotation"]["manual-count"] == 0, key
    assert key["rotation"]["rotation-period"] == 365 and key["policy"] == "", key
    plain = c.create_kms_key(name=f"{prefix} plain")
    assert plain["multi-zone"] is False and plain["description"] == "" and plain["usage"] == "encrypt-decrypt", plain

    seen = c.get_kms_key(id=k)
    for member in ("id", "name", "description", "usage", "source", "status", "multi-zone", "origin-zone", "created-at",
                   "material", "rotation", "revision", "status-since"):
        assert seen[member] == key[member], f"{member}: {seen[member]} after {key[member]}"
    for moment in (seen["created-at"], seen["status-since"], seen["revision"]["at"], seen["rotation"]["next-at"]):
        assert NANOSECONDS.fullmatch(moment), moment
    assert seen["replicas"] == [] and seen["replicas-status"] == [] and "delete-at" not in seen, seen
    listed = [entry for entry in c.list_kms_keys()["kms-keys"] if entry["id"] == k]
    assert len(listed) == 1 and listed[0]["name"] == key["name"], listed

    secret, context = b64(b"attack at dawn"), b64(b"ctx")
    first = c.encrypt(id=k, plaintext=secret)["ciphertext"]
    bound = c.encrypt(id=k, plaintext=secret, encryption_context=context)["ciphertext"]
    assert c.decrypt(id=k, ciphertext=first)["plaintext"] == secret
    assert c.decrypt(id=k, ciphertext=first, encryption_context=None)["plaintext"] == secret
    assert c.decrypt(id=k, ciphertext=first, encryption_context="")["plaintext"] == secret
    assert c.decrypt(id=k, ciphertext=bound, encryption_context=context)["plaintext"] == secret
    empty = c.encrypt(id=k, plaintext="", encryption_context=None)["ciphertext"]
    assert c.decrypt(id=k, ciphertext=empty)["plaintext"] == ""
    assert first != c.encrypt(id=k, plaintext=secret)["ciphertext"], "two encryptions are alike"
    largest = b64(b"x" * 65536)
    assert c.decrypt(id=k, ciphertext=c.encrypt(id=k, plaintext=largest)["ciphertext"])["plaintext"] == largest

    assert c.list_kms_key_rotations(id=k) == {"rotations": []}
    rotated = c.rotate_kms_key(id=k)["rotation"]
    assert rotated["manual-count"] == 1 and rotated["next-at"] == key["rotation"]["next-at"], rotated
    rotations = c.list_kms_key_rotations(id=k)["rotations"]
    assert [(r["version"], r["automatic"]) for r in rotations] == [(2, False)], rotations
    assert c.decrypt(id=k, ciphertext=first)["plaintext"] == secret, "an old ciphertext opens"

    moved = c.re_encrypt(
        id=k,
        source={"key": k, "ciphertext": bound, "encryption-context": context},
        destination={"key": plain["id"], "encryption-context": b64(b"other")},
    )["ciphertext"]
    assert c.decrypt(id=plain["id"], ciphertext=moved, encryption_context=b64(b"other"))["plaintext"] == secret
    again = c.re_encrypt(id=k, source={"key": k, "ciphertext": first}, destination={"key": k})["ciphertext"]
    assert c.decrypt(id=k, ciphertext=again)["plaintext"] == secret

    for arguments, length in [
        ({}, 32), ({"key_spec": "AES-256"}, 32), ({"bytes_count": 1}, 1), ({"bytes_count": 1024}, 1024),
        ({"key_spec": "AES-256", "bytes_count": 32}, 32), ({"bytes_count": 64, "encryption_context": context}, 64),
    ]:
        data_key = c.generate_data_key(id=k, **arguments)
        opened = c.decrypt(id=k, ciphertext=data_key["ciphertext"],
                           **{n: v for n, v in arguments.items() if n == "encryption_context"})
        assert opened["plaintext"] == data_key["plaintext"], "a data key opens to itself"
        assert len(__import__("base64").b64decode(data_key["plaintext"])) == length, arguments

    off = c.disable_kms_key_rotation(id=k)["rotation"]
    assert off["automatic"] is False and off["next-at"] == rotated["next-at"], off
    on = c.enable_kms_key_rotation(id=k, rotation_period=90)["rotation"]
    assert on["automatic"] is True and on["rotation-period"] == 90 and on["next-at"] < off["next-at"], on
    c.disable_kms_key_rotation(id=k)
    assert c.enable_kms_key_rotation(id=k)["rotation"]["rotation-period"] == 365

    assert c.disable_kms_key(id=k) == {"status": "success"} == c.disable_kms_key(id=k)
    disabled = c.get_kms_key(id=k)
    assert disabled["status"] == "disabled" and disabled["status-since"] == disabled["revision"]["at"], disabled
    assert c.enable_kms_key(id=k) == {"status": "success"} == c.enable_kms_key(id=k)

    scheduled = c.schedule_kms_key_deletion(id=k, delay_days=7)
    assert scheduled["status"] == "success", scheduled
    pending = c.get_kms_key(id=k)
    assert pending["status"] == "pending-deletion" and pending["delete-at"] == scheduled["delete-at"], pending
    assert k in [entry["id"] for entry in c.list_kms_keys()["kms-keys"]], "a pending key stays in the list"
    later = c.schedule_kms_key_deletion(id=k)
    assert later["delete-at"] > scheduled["delete-at"], "the new date"
    assert c.cancel_kms_key_deletion(id=k) == {"status": "success"}
    assert c.get_kms_key(id=k)["status"] == "disabled" and "delete-at" not in c.get_kms_key(id=k)
    c.enable_kms_key(id=k)
    assert c.decrypt(id=k, ciphertext=first)["plaintext"] == secret


def named_errors(c, prefix):
    good = b64(b"x")
    enabled = c.create_kms_key(name=f"{prefix} enabled")["id"]
    sealed = c.encrypt(id=enabled, plaintext=good)["ciphertext"]
    disabled = c.create_kms_key(name=f"{prefix} disabled")["id"]
    c.disable_kms_key(id=disabled)
    pending = c.create_kms_key(name=f"{prefix} pending", multi_zone=True)["id"]
    c.schedule_kms_key_deletion(id=pending)
    multi = c.create_kms_key(name=f"{prefix} multi", multi_zone=True)["id"]
    [default] = [entry["id"] for entry in c.list_kms_keys()["kms-keys"] if entry["name"] == "default-key"]
    unknown = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d"

    def re_encrypt(key, destination):
        return {"id": key, "source": {"key": key, "ciphertext": sealed}, "destination": {"key": destination}}

    everyone = [
        (c.get_kms_key, {}), (c.enable_kms_key, {}), (c.disable_kms_key, {}), (c.rotate_kms_key, {}),
        (c.enable_kms_key_rotation, {}), (c.disable_kms_key_rotation, {}), (c.list_kms_key_rotations, {}),
        (c.replicate_kms_key, {"zone": "ch-dk-2"}), (c.schedule_kms_key_deletion, {}), (c.cancel_kms_key_deletion, {}),
        (c.encrypt, {"plaintext": good}), (c.decrypt, {"ciphertext": sealed}), (c.generate_data_key, {}),
    ]
    for call, arguments in everyone:
        refused("Key Not Found", call, id=unknown, **arguments)
    refused("Key Not Found", c.re_encrypt, **re_encrypt(unknown, enabled))
    refused("Key Not Found", c.re_encrypt, **re_encrypt(enabled, unknown))

    while_disabled = [
        (c.rotate_kms_key, {}), (c.enable_kms_key_rotation, {}), (c.disable_kms_key_rotation, {}),
        (c.encrypt, {"plaintext": good}), (c.decrypt, {"ciphertext": sealed}), (c.generate_data_key, {}),
    ]
    for call, arguments in while_disabled:
        refused("Key is Disabled", call, id=disabled, **arguments)
    refused("Key is Disabled", c.re_encrypt, **re_encrypt(disabled, enabled))
    refused("Key is Disabled", c.re_encrypt, **re_encrypt(enabled, disabled))

    for call, arguments in while_disabled + [
        (c.enable_kms_key, {}), (c.disable_kms_key, {}), (c.replicate_kms_key, {"zone": "ch-dk-2"}),
    ]:
        refused("Key is Pending Deletion", call, id=pending, **arguments)
    refused("Key is Pending Deletion", c.re_encrypt, **re_encrypt(pending, enabled))

    for call, arguments in [
        (c.disable_kms_key, {}), (c.enable_kms_key_rotation, {}), (c.disable_kms_key_rotation, {}),
        (c.schedule_kms_key_deletion, {}), (c.replicate_kms_key, {"zone": "ch-dk-2"}),
    ]:
        refused("Not on Default", call, id=default, **arguments)
    refused("Not on Default", c.re_encrypt, **re_encrypt(default, enabled))
    refused("Not on Default", c.re_encrypt, **re_encrypt(enabled, default))

    refused("Name Conflict", c.create_kms_key, name=f"{prefix} enabled")
    refused("Conflict", c.enable_kms_key_rotation, id=enabled)
    c.disable_kms_key_rotation(id=enabled)
    refused("Conflict", c.disable_kms_key_rotation, id=enabled)
    refused("Not Pending Deletion", c.cancel_kms_key_deletion, id=enabled)
    refused("Not Multizone", c.replicate_kms_key, id=enabled, zone="ch-dk-2")
    refused("Invalid Argument", c.replicate_kms_key, id=multi, zone="xx-nowhere-1")
    assert c.replicate_kms_key(id=multi, zone="ch-dk-2")["status"] == "target-registered"
    refused("Conflict", c.replicate_kms_key, id=multi, zone="ch-dk-2")
    for _ in range(10):
        c.rotate_kms_key(id=enabled)
    refused("Manual Rotation Limit", c.rotate_kms_key, id=enabled)
    refused("Operation Not Found", c.get_operation, id=unknown)

    for call, arguments, location, detail in [
        (c.create_kms_key, {}, "name", "is required"),
        (c.create_kms_key, {"name": "x", "usage": "sign-verify"}, "usage", "enumeration"),
        (c.enable_kms_key_rotation, {"id": multi, "rotation_period": 89}, "rotation-period", "between 90 and 2560"),
        (c.schedule_kms_key_deletion, {"id": multi, "delay_days": 31}, "delay-days", "between 7 and 30"),
        (c.encrypt, {"id": multi, "plaintext": "QQ"}, "plaintext", "base64"),
        (c.decrypt, {"id": multi, "ciphertext": "QQ"}, "ciphertext", "base64"),
        (c.generate_data_key, {"id": multi, "bytes_count": 1025}, "bytes-count", "between 1 and 1024"),
        (c.re_encrypt, {"id": multi, "source": {"key": multi}, "destination": {"key": multi}}, "source']['ciphertext", "is required"),
    ]:
        [fault] = refused("Bad Request", call, **arguments)["errors"]
        assert fault["location"] == f"$['{location}']" and detail in fault["detail"], fault
    refused("Bad Request", c.decrypt, id=multi, ciphertext=sealed)
    # No argument of `list_kms_keys` can be wrong: its error needs a query, sent with the client's own session.
    assert c.http_client.get(c.endpoint + "/kms-key", params={"page": 1}).status_code == 400


def main():
    descriptions = sys.argv[1:]
    check_the_checker(descriptions)
    recorder = Recorder(descriptions)
    c = client()
    prefix = f"sdk {exoscale.__version__}" if hasattr(exoscale, "__version__") else f"sdk {uuid.uuid4()}"
    happy_path(c, prefix)
    named_errors(c, prefix)

    seen = {}
    for operation, outcome in recorder.answers:
        seen.setdefault(operation, set()).add(outcome)
    for operation, outcomes in WANTED.items():
        missing = outcomes - seen.get(operation, set())
        assert not missing, f"{operation} was never answered with {missing}"
        beyond = seen[operation] - outcomes
        assert not beyond, f"{operation} was answered with {beyond}, which this script does not know"
    total = sum(recorder.answers.values())
    print(f"{len(WANTED)} operations, {len(recorder.answers)} outcomes, {total} answers, "
          f"each valid under {len(descriptions)} descriptions")


main()
