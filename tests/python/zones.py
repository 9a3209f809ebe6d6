"""Three zones of a lab through the official client: replication, what each zone may do, and the end of a key everywhere.
Usage: zones.py OPENAPI.json OPENAPI.json"""

import sys
import time

from recorded import Recorder, advance, b64, check_the_checker, refused, zone_clients

ORIGIN, OTHER, THIRD = "ch-gva-2", "ch-dk-2", "de-fra-1"
SECRET, CONTEXT = b64(b"attack at dawn"), b64(b"ctx")
UNKNOWN = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d"
PATIENCE = 30  # seconds until a zone that does not catch up fails the test

# Outcomes that only zones with links give, each of which must have been seen.
WANTED = {
    ("replicate-kms-key", "success"), ("replicate-kms-key", "Conflict"), ("replicate-kms-key", "Not Multizone"),
    ("replicate-kms-key", "Invalid Argument"), ("replicate-kms-key", "Key is Pending Deletion"),
    ("replicate-kms-key", "Not on Replica"), ("rotate-kms-key", "Not on a Replica"),
    ("schedule-kms-key-deletion", "Not on Replica"), ("cancel-kms-key-deletion", "Not on Replica"),
    ("enable-kms-key-rotation", "Not on Replica"), ("disable-kms-key-rotation", "Not on Replica"),
}


def main():
    check_the_checker(sys.argv[1:])
    recorder = Recorder(sys.argv[1:])
    zones = zone_clients()
    assert sorted(zones) == sorted([ORIGIN, OTHER, THIRD]), zones
    key = replicated_everywhere(zones)
    ciphertexts = open_everywhere(zones, key)
    ciphertexts += rotate(zones, key, ciphertexts)
    disable_in_one_zone(zones, key, ciphertexts)
    replicas_refuse(zones, key)
    errors_of_replicate(zones, key)
    replicas_of_a_disabled_key_begin_disabled(zones)
    schedule_and_cancel(zones, key, ciphertexts)
    clock_rotates_at_the_origin(zones, key, ciphertexts)
    the_end_of_a_key(zones, key, ciphertexts)

    missing = WANTED - set(recorder.answers)
    assert not missing, f"never answered: {missing}"
    print(f"{len(recorder.answers)} outcomes, {sum(recorder.answers.values())} answers, "
          f"each valid under {len(recorder.descriptions)} descriptions")


def wait_for(what, probe):
    """Asks again until it is so; gives what the probe gave."""
    end = time.monotonic() + PATIENCE
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


def settled(zones, key):
    """Waits until every replica has the origin's revision and shows no failure; gives the key at its origin."""

    def probe():
        seen = zones[ORIGIN].get_kms_key(id=key)
        there = {status["zone"]: status for status in seen["replicas-status"]}
        assert set(there) == set(seen["replicas"]), seen
        for status in there.values():
            assert status["last-applied-watermark"] <= seen["revision"]["seq"], f"a watermark of the future: {seen}"
        caught_up = all(
            status["last-applied-watermark"] == seen["revision"]["seq"] and "last-failure" not in status
            for status in there.values()
        )
        return seen if caught_up else None

    return wait_for(f"watermarks of {key}", probe)


def replicated_everywhere(zones):
    c = zones[ORIGIN]
    made = c.create_kms_key(name="orders", description="of all zones", usage="encrypt-decrypt", multi_zone=True)
    key = made["id"]
    assert made["replicas"] == [] and made["origin-zone"] == ORIGIN, made
    for zone in (OTHER, THIRD):
        refused("Key Not Found", zones[zone].get_kms_key, id=key)
    for zone in (OTHER, THIRD):
        answer = c.replicate_kms_key(id=key, zone=zone)
        assert answer["status"] == "target-registered", answer
    at_origin = settled(zones, key)
    assert sorted(at_origin["replicas"]) == sorted([OTHER, THIRD]), at_origin
    assert at_origin["revision"]["seq"] == 3, f"created, and two targets registered: {at_origin}"
    for zone in (OTHER, THIRD):
        replica = zones[zone].get_kms_key(id=key)
        for member in ("id", "name", "description", "usage", "source", "status", "multi-zone", "origin-zone",
                       "created-at", "material", "rotation"):
            assert replica[member] == at_origin[member], f"{member} in {zone}: {replica[member]}"
        assert replica["zone"] == zone and replica["replicas-status"] == [] == replica["replicas"], replica
        assert key in [entry["id"] for entry in zones[zone].list_kms_keys()["kms-keys"]]
    return key


def open_everywhere(zones, key):
    """One ciphertext of every zone, each with and without a context, opened in every zone."""
    made = []
    for c in zones.values():
        made.append({"ciphertext": c.encrypt(id=key, plaintext=SECRET)["ciphertext"]})
        bound = c.encrypt(id=key, plaintext=SECRET, encryption_context=CONTEXT)["ciphertext"]
        made.append({"ciphertext": bound, "encryption_context": CONTEXT})
        data_key = c.generate_data_key(id=key)
        for reader in zones.values():
            assert reader.decrypt(id=key, ciphertext=data_key["ciphertext"])["plaintext"] == data_key["plaintext"]
    opens(zones.values(), key, made)
    return made


def opens(readers, key, ciphertexts):
    for reader in readers:
        for ciphertext in ciphertexts:
            assert reader.decrypt(id=key, **ciphertext)["plaintext"] == SECRET


def rotate(zones, key, older):
    rotated = zones[ORIGIN].rotate_kms_key(id=key)
    at_origin = settled(zones, key)
    assert at_origin["material"]["version"] == 2, at_origin
    for zone, c in zones.items():
        assert c.get_kms_key(id=key)["material"] == at_origin["material"], (zone, rotated)
        assert c.list_kms_key_rotations(id=key) == zones[ORIGIN].list_kms_key_rotations(id=key), zone
    opens(zones.values(), key, older)
    return open_everywhere(zones, key)


def disable_in_one_zone(zones, key, ciphertexts):
    before = settled(zones, key)["revision"]
    for off in zones:
        on = [c for zone, c in zones.items() if zone != off]
        zones[off].disable_kms_key(id=key)
        if off == ORIGIN:
            settled(zones, key)
        else:
            assert zones[ORIGIN].get_kms_key(id=key)["revision"] == before, "a replica's status is its own affair"
        refused("Key is Disabled", zones[off].encrypt, id=key, plaintext=SECRET)
        refused("Key is Disabled", zones[off].decrypt, id=key, **ciphertexts[0])
        opens(on, key, ciphertexts)
        assert [c.get_kms_key(id=key)["status"] for c in on] == ["enabled", "enabled"], off
        # What the origin does meanwhile reaches the zone that is off, and does not switch it on.
        if off == OTHER:
            zones[ORIGIN].rotate_kms_key(id=key)
            version = settled(zones, key)["material"]["version"]
            seen = zones[off].get_kms_key(id=key)
            assert (seen["status"], seen["material"]["version"]) == ("disabled", version), seen
            before = zones[ORIGIN].get_kms_key(id=key)["revision"]
        zones[off].enable_kms_key(id=key)
        opens([zones[off]], key, ciphertexts)
        if off == ORIGIN:
            before = settled(zones, key)["revision"]


def replicas_refuse(zones, key):
    before = {zone: c.get_kms_key(id=key) for zone, c in zones.items()}
    for zone in (OTHER, THIRD):
        c = zones[zone]
        for call, arguments in [
            (c.enable_kms_key_rotation, {}), (c.disable_kms_key_rotation, {}),
            (c.schedule_kms_key_deletion, {}), (c.cancel_kms_key_deletion, {}),
            (c.replicate_kms_key, {"zone": ORIGIN}), (c.replicate_kms_key, {"zone": THIRD}),
            (c.replicate_kms_key, {"zone": OTHER}),
        ]:
            refused("Not on Replica", call, id=key, **arguments)
        # The API's documents spell this title in two ways.
        refused("Not on a Replica", c.rotate_kms_key, id=key)
    assert before == {zone: c.get_kms_key(id=key) for zone, c in zones.items()}, "a refusal changed something"


def errors_of_replicate(zones, key):
    c = zones[ORIGIN]
    single = c.create_kms_key(name="single")["id"]
    multi = c.create_kms_key(name="multi", multi_zone=True)["id"]
    pending = c.create_kms_key(name="pending", multi_zone=True)["id"]
    c.schedule_kms_key_deletion(id=pending)
    refused("Conflict", c.replicate_kms_key, id=key, zone=OTHER)
    refused("Not Multizone", c.replicate_kms_key, id=single, zone=OTHER)
    refused("Invalid Argument", c.replicate_kms_key, id=multi, zone="xx-nowhere-1")
    refused("Invalid Argument", c.replicate_kms_key, id=multi, zone=ORIGIN)
    refused("Key is Pending Deletion", c.replicate_kms_key, id=pending, zone=OTHER)
    refused("Key Not Found", c.replicate_kms_key, id=UNKNOWN, zone=OTHER)
    assert c.get_kms_key(id=multi)["replicas"] == [], "a refusal registered a target"

    # A name that is taken in the target zone: a failure that is told, and nothing overwritten.
    theirs = zones[OTHER].create_kms_key(name="taken")["id"]
    ours = c.create_kms_key(name="taken", multi_zone=True)["id"]
    assert c.replicate_kms_key(id=ours, zone=OTHER)["status"] == "target-registered"

    def failure():
        [status] = c.get_kms_key(id=ours)["replicas-status"]
        return status if "last-failure" in status else None

    status = wait_for("a failure that is told", failure)
    assert status["last-applied-watermark"] == 0, status
    assert status["last-failure"]["attempted-watermark"] == 2 and "name" in status["last-failure"]["error"], status
    assert zones[OTHER].get_kms_key(id=theirs)["origin-zone"] == OTHER
    refused("Key Not Found", zones[OTHER].get_kms_key, id=ours)


def replicas_of_a_disabled_key_begin_disabled(zones):
    c = zones[ORIGIN]
    key = c.create_kms_key(name="disabled from the start", multi_zone=True)["id"]
    c.disable_kms_key(id=key)
    c.replicate_kms_key(id=key, zone=THIRD)
    settled(zones, key)
    assert zones[THIRD].get_kms_key(id=key)["status"] == "disabled"
    zones[THIRD].enable_kms_key(id=key)
    assert c.get_kms_key(id=key)["status"] == "disabled"
    zones[THIRD].encrypt(id=key, plaintext=SECRET)


def schedule_and_cancel(zones, key, ciphertexts):
    c = zones[ORIGIN]
    scheduled = c.schedule_kms_key_deletion(id=key, delay_days=7)
    settled(zones, key)
    for zone, one in zones.items():
        seen = one.get_kms_key(id=key)
        assert (seen["status"], seen["delete-at"]) == ("pending-deletion", scheduled["delete-at"]), (zone, seen)
        refused("Key is Pending Deletion", one.decrypt, id=key, **ciphertexts[0])
        refused("Key is Pending Deletion", one.enable_kms_key, id=key)
    c.cancel_kms_key_deletion(id=key)
    settled(zones, key)
    for zone, one in zones.items():
        seen = one.get_kms_key(id=key)
        assert seen["status"] == "disabled" and "delete-at" not in seen, (zone, seen)
        refused("Key is Disabled", one.encrypt, id=key, plaintext=SECRET)
    for one in zones.values():
        one.enable_kms_key(id=key)
    settled(zones, key)
    opens(zones.values(), key, ciphertexts)


def clock_rotates_at_the_origin(zones, key, ciphertexts):
    """A rotation that falls due happens once, at the origin, and reaches the others."""
    version = settled(zones, key)["material"]["version"]
    advance("366d")
    at_origin = settled(zones, key)
    assert at_origin["material"]["version"] == version + 1 and at_origin["material"]["automatic"] is True, at_origin
    for one in zones.values():
        assert one.get_kms_key(id=key)["material"] == at_origin["material"]
    opens(zones.values(), key, ciphertexts)
    ciphertexts += open_everywhere(zones, key)


def the_end_of_a_key(zones, key, ciphertexts):
    zones[ORIGIN].schedule_kms_key_deletion(id=key, delay_days=7)
    settled(zones, key)
    advance("8d")

    def gone(c):
        return key not in [entry["id"] for entry in c.list_kms_keys()["kms-keys"]]

    for zone, c in zones.items():
        wait_for(f"the end of the key in {zone}", lambda: gone(c))
        refused("Key Not Found", c.get_kms_key, id=key)
        refused("Key Not Found", c.decrypt, id=key, **ciphertexts[0])
        refused("Key Not Found", c.enable_kms_key, id=key)

    # The name is free in every zone, once the deletion has reached it.
    for zone, c in zones.items():
        again = c.create_kms_key(name="orders")
        assert again["id"] != key and again["origin-zone"] == zone, again


main()
