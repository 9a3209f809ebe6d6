"""Checks cells of the state matrix against running zones through the official client.
Usage: matrix.py CELLS.json, a list of {"place", "operation", "case", "state", "cell"}."""

import base64
import json
import os
import sys
import time

from exoscale.api.exceptions import ExoscaleAPIException

from recorded import advance, b64, zone_clients

SECRET = b64(b"attack at dawn")
ORIGIN, OTHER, THIRD = "ch-gva-2", "ch-dk-2", "de-fra-1"


class Cell:
    def __init__(self, zones, number, description, helpers, default):
        self.operation, self.case = description["operation"], description["case"]
        self.state, self.expected = description["state"], description["cell"]
        self.is_replica = description["place"] == "replica"
        zone = OTHER if self.is_replica else ORIGIN
        # The zone under test, and the one where the key is made: the same unless that is a replica.
        self.c, self.origin, self.helper = zones[zone], zones[ORIGIN], helpers[zone]
        self.title = f"{self.operation} ({self.case}) on {description['place']} {self.state}: {self.expected}"
        if self.expected == "Not on Replica" and self.operation == "rotate":
            # The API's documents spell this title in two ways.
            self.expected = "Not on a Replica"
        if self.state == "default":
            self.key = default
        else:
            multi_zone = self.is_replica or "multi-zone" in self.case
            self.key = self.origin.create_kms_key(name=f"cell {number}", multi_zone=multi_zone)["id"]
        self.arrange()

    def arrange(self):
        """What is special about the case, while the key is still enabled."""
        c, key = self.origin, self.key
        self.ciphertext = c.encrypt(id=key, plaintext=SECRET)["ciphertext"]
        if self.case == "10 manual rotations before" and self.state != "default":
            for _ in range(10):
                c.rotate_kms_key(id=key)
        elif self.case == "it is off":
            c.disable_kms_key_rotation(id=key)
        elif self.case == "an older version" and self.state != "default":
            c.rotate_kms_key(id=key)
        elif self.case == "a version it never had":
            raw = bytearray(base64.b64decode(self.ciphertext))
            raw[17:21] = (4711).to_bytes(4, "big")
            self.ciphertext = b64(bytes(raw))
        if self.is_replica or (self.case.endswith("zone has it") and self.state != "default"):
            c.replicate_kms_key(id=key, zone=OTHER)

    def enter(self):
        """Brings the key into its state."""
        if self.state == "disabled":
            self.settle()
            self.c.disable_kms_key(id=self.key)
        elif self.state == "pending-deletion":
            self.origin.schedule_kms_key_deletion(id=self.key, delay_days=30)
        elif self.state == "gone":
            self.origin.schedule_kms_key_deletion(id=self.key, delay_days=7)

    def settle(self):
        """Waits until the replicas have what the origin has."""
        end = time.monotonic() + 30
        while True:
            seen = self.origin.get_kms_key(id=self.key)
            marks = [status["last-applied-watermark"] for status in seen["replicas-status"]]
            if all(mark == seen["revision"]["seq"] for mark in marks):
                return
            assert time.monotonic() < end, f"{self.title}: not at rest: {seen}"
            time.sleep(0.02)

    def late_arrange(self):
        """The default key is one for all cells: what uses it up comes last."""
        if self.state != "default":
            return
        if self.case == "an older version":
            self.c.rotate_kms_key(id=self.key)
        if self.case == "10 manual rotations before":
            while self.c.get_kms_key(id=self.key)["rotation"]["manual-count"] < 10:
                self.c.rotate_kms_key(id=self.key)

    def act(self):
        c, key, operation = self.c, self.key, self.operation
        zone = OTHER
        if self.case.endswith("origin zone"):
            zone = ORIGIN
        elif self.is_replica and self.case.endswith("new zone"):
            zone = THIRD
        if operation == "enable":
            return c.enable_kms_key(id=key)
        if operation == "disable":
            return c.disable_kms_key(id=key)
        if operation == "rotate":
            return c.rotate_kms_key(id=key)
        if operation == "enable-key-rotation":
            return c.enable_kms_key_rotation(id=key)
        if operation == "disable-key-rotation":
            return c.disable_kms_key_rotation(id=key)
        if operation == "schedule-deletion":
            return c.schedule_kms_key_deletion(id=key)
        if operation == "cancel-deletion":
            return c.cancel_kms_key_deletion(id=key)
        if operation == "replicate":
            return c.replicate_kms_key(id=key, zone=zone)
        if operation == "encrypt":
            return self.opens(c.encrypt(id=key, plaintext=SECRET)["ciphertext"], key, SECRET)
        if operation == "generate-data-key":
            data_key = c.generate_data_key(id=key)
            return self.opens(data_key["ciphertext"], key, data_key["plaintext"])
        if operation == "decrypt":
            return self.opens(self.ciphertext, key, SECRET)
        if operation == "re-encrypt" and self.case == "as source":
            source = {"key": key, "ciphertext": self.ciphertext}
            moved = c.re_encrypt(id=key, source=source, destination={"key": self.helper})
            return self.opens(moved["ciphertext"], self.helper, SECRET)
        if operation == "re-encrypt" and self.case == "as destination":
            sealed = c.encrypt(id=self.helper, plaintext=SECRET)["ciphertext"]
            source = {"key": self.helper, "ciphertext": sealed}
            moved = c.re_encrypt(id=self.helper, source=source, destination={"key": key})
            return self.opens(moved["ciphertext"], key, SECRET)
        raise AssertionError(f"unknown operation {operation} ({self.case})")

    def opens(self, ciphertext, key, plaintext):
        assert self.c.decrypt(id=key, ciphertext=ciphertext)["plaintext"] == plaintext, self.title

    def check(self):
        before = look(self.c, self.key)
        try:
            self.act()
            outcome, detail = "success", None
        except ExoscaleAPIException as error:
            problem = error.response.json()
            outcome, detail = problem["title"], problem["detail"]
        after = look(self.c, self.key)

        words = self.expected.split()
        if words[0] == "ok" and len(words) > 1:
            assert outcome == "success", f"{self.title}, not {outcome}: {detail}"
            changed(self.title, before, after, words[1], words[2:])
        elif words[0] in ("ok", "already"):
            assert outcome == "success", f"{self.title}, not {outcome}: {detail}"
            assert before == after, f"{self.title}: something changed"
        elif words[0] == "mismatch":
            assert (outcome, detail) == ("Bad Request", "the ciphertext could not be decrypted"), (self.title, detail)
            assert before == after, f"{self.title}: something changed"
        else:
            assert outcome == self.expected, f"{self.title}, not {outcome}: {detail}"
            assert before == after, f"{self.title}: something changed"


def look(c, key):
    """The key as this zone has it, without how far its replicas are."""
    try:
        seen = c.get_kms_key(id=key)
        seen.pop("replicas-status")
        return seen
    except ExoscaleAPIException as error:
        assert error.response.status_code == 404, error
        return None


def changed(title, before, after, status, effects):
    """The status is this one, these things have changed, and nothing else has."""
    facts = {
        "+version": after["material"]["version"] - before["material"]["version"] == 1,
        "+manual": after["rotation"]["manual-count"] - before["rotation"]["manual-count"] == 1,
        "rotation-on": (before["rotation"]["automatic"], after["rotation"]["automatic"]) == (False, True),
        "rotation-off": (before["rotation"]["automatic"], after["rotation"]["automatic"]) == (True, False),
        "next-at": before["rotation"]["next-at"] != after["rotation"]["next-at"],
        "delete-at": after.get("delete-at") is not None and before.get("delete-at") != after.get("delete-at"),
        "+replica": len(after["replicas"]) - len(before["replicas"]) == 1,
    }
    unknown = set(effects) - set(facts)
    assert not unknown, f"{title}: what is {unknown}?"
    for fact, holds in facts.items():
        assert holds == (fact in effects), f"{title}: {fact} is {holds}\n{before}\n{after}"
    assert after["status"] == status, f"{title}: the status is {after['status']}"
    assert after["revision"]["seq"] == before["revision"]["seq"] + 1, f"{title}: the revision"
    if "+version" not in effects:
        assert after["material"] == before["material"], title
    for member in ("id", "name", "description", "usage", "source", "multi-zone", "origin-zone", "created-at", "zone"):
        assert after[member] == before[member], f"{title}: {member}"


def requests_of_users(zones, cells, default):
    helpers = {zone: c.create_kms_key(name="helper")["id"] for zone, c in zones.items()}
    # Cells that wear the default key out come after those that need it fresh.
    wear = {"an older version": 1, "10 manual rotations before": 2}
    cells = sorted(cells, key=lambda cell: wear.get(cell["case"], 0))
    arranged = [Cell(zones, number, cell, helpers, default) for number, cell in enumerate(cells)]
    for cell in arranged:
        cell.enter()
    for cell in arranged:
        cell.settle()
    advance("7d")
    for cell in arranged:
        cell.late_arrange()
        cell.check()


def work_of_time(c, cells, default):
    """`time` is no request: keys are prepared on the lab clock so that in every state `next-at` has come."""
    keys = {}
    for cell in cells:
        if cell["state"] == "default":
            keys[cell["case"], "default"] = default
            continue
        key = c.create_kms_key(name=f"time {cell['case']} {cell['state']}")["id"]
        keys[cell["case"], cell["state"]] = key
        c.disable_kms_key_rotation(id=key)
        c.enable_kms_key_rotation(id=key, rotation_period=90)
        if cell["case"].endswith("it is off"):
            c.disable_kms_key_rotation(id=key)
        if cell["state"] == "disabled":
            c.disable_kms_key(id=key)
    advance("75d")
    for (_, state), key in keys.items():
        if state == "pending-deletion":
            c.schedule_kms_key_deletion(id=key, delay_days=30)
        if state == "gone":
            c.schedule_kms_key_deletion(id=key, delay_days=7)
    before = {place: look(c, key) for place, key in keys.items()}
    advance("20d")
    after = {place: look(c, key) for place, key in keys.items()}
    # The default key's period cannot be changed: its date comes later than the others'.
    advance("271d")
    after |= {place: look(c, key) for place, key in keys.items() if place[1] == "default"}

    for cell in cells:
        place = (cell["case"], cell["state"])
        title = f"time ({cell['case']}) on {cell['state']}: {cell['cell']}"
        words = cell["cell"].split()
        if words[0] == "deleted":
            assert after[place] is None and before[place] is not None, title
        elif words[0] == "nothing":
            assert after[place] == before[place], f"{title}\n{before[place]}\n{after[place]}"
        else:
            assert words[0] == "ok", title
            changed(title, before[place], after[place], words[1], words[2:])
            assert after[place]["material"]["automatic"] is True, title


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cells = json.load(file)
    zones = zone_clients()
    c = zones[ORIGIN]
    [default] = [entry["id"] for entry in c.list_kms_keys()["kms-keys"] if entry["name"] == "default-key"]
    of_time = [cell for cell in cells if cell["operation"] == "time"]
    of_users = [cell for cell in cells if cell["operation"] != "time"]
    requests_of_users(zones, of_users, default)
    work_of_time(c, of_time, default)
    of_replicas = sum(cell["place"] == "replica" for cell in of_users)
    print(f"{len(of_users)} cells of requests ({of_replicas} on replicas) and {len(of_time)} cells of time hold")


assert os.environ["EXOSCALE_ZONE"] == ORIGIN, "the matrix takes ch-gva-2 for the origin"
main()
