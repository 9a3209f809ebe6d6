"""Checks cells of the state matrix against a running server through the official client.
Usage: matrix.py CELLS.json, a list of {"operation", "case", "state", "cell"}."""

import base64
import json
import os
import sys

from exoscale.api.exceptions import ExoscaleAPIException

from recorded import advance, b64, client

SECRET = b64(b"attack at dawn")


class Cell:
    def __init__(self, c, number, description, helper, default):
        self.operation, self.case = description["operation"], description["case"]
        self.state, self.expected = description["state"], description["cell"]
        self.c, self.helper = c, helper
        self.title = f"{self.operation} ({self.case}) on {self.state}: {self.expected}"
        if self.state == "default":
            self.key = default
        else:
            self.key = c.create_kms_key(name=f"cell {number}", multi_zone="multi-zone" in self.case)["id"]
        self.arrange()

    def arrange(self):
        """What is special about the case, while the key is still enabled."""
        c, key = self.c, self.key
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

    def enter(self):
        """Brings the key into its state."""
        if self.state == "disabled":
            self.c.disable_kms_key(id=self.key)
        elif self.state == "pending-deletion":
            self.c.schedule_kms_key_deletion(id=self.key, delay_days=30)
        elif self.state == "gone":
            self.c.schedule_kms_key_deletion(id=self.key, delay_days=7)

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
        zone = "ch-gva-2" if self.case.endswith("origin zone") else "ch-dk-2"
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
    try:
        return c.get_kms_key(id=key)
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


def requests_of_users(c, cells, default):
    helper = c.create_kms_key(name="helper")["id"]
    # Cells that wear the default key out come after those that need it fresh.
    wear = {"an older version": 1, "10 manual rotations before": 2}
    cells = sorted(cells, key=lambda cell: wear.get(cell["case"], 0))
    arranged = [Cell(c, number, cell, helper, default) for number, cell in enumerate(cells)]
    for cell in arranged:
        cell.enter()
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
    c = client()
    [default] = [entry["id"] for entry in c.list_kms_keys()["kms-keys"] if entry["name"] == "default-key"]
    of_time = [cell for cell in cells if cell["operation"] == "time"]
    of_users = [cell for cell in cells if cell["operation"] != "time"]
    requests_of_users(c, of_users, default)
    work_of_time(c, of_time, default)
    print(f"{len(of_users)} cells of requests and {len(of_time)} cells of time hold")


assert os.environ["EXOSCALE_ZONE"] == "ch-gva-2", "the matrix takes ch-gva-2 for the origin"
main()
