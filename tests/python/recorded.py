"""The official client, unmodified, with every answer that it receives recorded and checked against both API
descriptions: the one that today's client ships and that of the service's first months."""

import base64
import json
import os
import re

import requests
from exoscale.api.exceptions import ExoscaleAPIException
from exoscale.api.v2 import Client
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

# The formats that the descriptions use: a checker that does not know one would let everything pass.
NEEDED_FORMATS = {"date-time", "uuid", "byte", "uri-reference", "int64"}


@oas30_format_checker.checks("uri-reference")
def is_uri_reference(value):
    return not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*", value) is not None


@oas30_format_checker.checks("byte")
def is_base64(value):
    if not isinstance(value, str):
        return True
    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except ValueError:
        return False


class Description:
    """One OpenAPI document."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.document = json.load(file)
        resource = Resource.from_contents(self.document, default_specification=DRAFT4)
        self.registry = Registry().with_resource("urn:api", resource)
        self.operations = []
        for template, operations in self.document["paths"].items():
            if not template.startswith(("/kms-key", "/zone", "/operation/")):
                continue
            pattern = re.compile("/v2" + re.sub(r"\{[^}]+\}", "[^/]+", template))
            for method, operation in operations.items():
                self.operations.append((method.upper(), pattern, template, operation))

    def validate(self, method, path, status, body):
        """Validates an answer; gives the operation's id. A status that an operation does not document must still be a
        problem document."""
        found = [o for o in self.operations if o[0] == method and o[1].fullmatch(path)]
        assert len(found) == 1, f"{method} {path} is not one operation of the description"
        _, _, template, operation = found[0]
        if str(status) in operation["responses"]:
            schema = f"#/paths/{template.replace('~', '~0').replace('/', '~1')}/{method.lower()}/responses/{status}"
            schema += "/content/application~1json/schema"
        else:
            assert status >= 400, f"{method} {path} answers {status}"
            schema = "#/components/schemas/error-response"
        schema = schema.replace("{", "%7B").replace("}", "%7D")
        validator = OAS30Validator(
            {"$ref": "urn:api" + schema}, registry=self.registry, format_checker=oas30_format_checker
        )
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
        assert not errors, f"{method} {path} answers {status} {body}\nwhich breaks the description: {errors}"
        return operation["operationId"]


class Recorder:
    """Looks at every answer on its way to the client, without changing the client or the answer."""

    def __init__(self, descriptions):
        self.descriptions = [Description(path) for path in descriptions]
        self.answers = {}  # (operation id, title or "success") -> how often
        send = requests.Session.send
        recorder = self

        def recorded(session, request, **arguments):
            response = send(session, request, **arguments)
            recorder.look_at(request, response)
            return response

        requests.Session.send = recorded

    def look_at(self, request, response):
        assert response.headers["Content-Type"] == "application/json", response.headers
        body = response.json()
        path = request.path_url.split("?")[0]
        names = {d.validate(request.method, path, response.status_code, body) for d in self.descriptions}
        assert len(names) == 1, f"the descriptions disagree on {path}: {names}"
        outcome = "success"
        if response.status_code >= 400:
            outcome = body["title"]
            assert body["status"] == response.status_code and body["message"] == body["detail"], body
        key = (names.pop(), outcome)
        self.answers[key] = self.answers.get(key, 0) + 1


def check_the_checker(descriptions):
    """Shows that the validation can fail: a missing member, a wrong type and every format."""
    for path in descriptions:
        description = Description(path)
        unknown = NEEDED_FORMATS - set(oas30_format_checker.checkers)
        assert not unknown, f"formats that nobody would check: {unknown}"
        good = {
            "id": "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d", "name": "k", "description": "", "usage": "encrypt-decrypt",
            "source": "exoscale-kms", "status": "enabled", "status-since": "2026-06-22T11:31:23.248010627Z",
            "multi-zone": True, "origin-zone": "ch-gva-2", "created-at": "2026-06-22T11:31:23.248010627Z",
            "revision": {"at": "2026-06-22T11:31:23.248010627Z", "seq": 1}, "policy": "",
        }
        description.validate("POST", "/v2/kms-key", 200, good)
        broken = [
            {k: v for k, v in good.items() if k != "name"},
            dict(good, id="k1"),
            dict(good, status="gone"),
            {**good, "created-at": "2026-06-22 11:31:23"},
            {**good, "multi-zone": "true"},
            {**good, "revision": {"at": "2026-06-22T11:31:23Z", "seq": -1}},
        ]
        for answer in broken:
            try:
                description.validate("POST", "/v2/kms-key", 200, answer)
            except AssertionError:
                continue
            raise AssertionError(f"{path} lets {answer} pass")
        try:
            description.validate("POST", "/v2/kms-key/x/encrypt", 200, {"ciphertext": "QQ"})
        except AssertionError:
            continue
        raise AssertionError(f"{path} lets unpadded base64 pass")


def client():
    """A client of the server in the environment file's variables."""
    return Client(
        os.environ["EXOSCALE_API_KEY"], os.environ["EXOSCALE_API_SECRET"], url=os.environ["EXOSCALE_API_ENDPOINT"]
    )


def zone_clients():
    """A client of every zone, by the zone's name."""
    key, secret = os.environ["EXOSCALE_API_KEY"], os.environ["EXOSCALE_API_SECRET"]
    return {zone["name"]: Client(key, secret, url=zone["api-endpoint"]) for zone in client().list_zones()["zones"]}


def advance(by):
    """Moves the lab clock."""
    with requests.sessions.Session() as session:
        session.trust_env = False
        request = session.prepare_request(
            requests.Request("POST", os.environ["ZONEKMS_LAB"] + "/lab/clock", json={"advance": by})
        )
        answer = session.get_adapter(request.url).send(request)
        assert answer.status_code == 200, answer.text


def b64(data):
    return base64.b64encode(data).decode()


def refused(title, call, **arguments):
    """Calls and expects this named error; gives the problem document."""
    try:
        answer = call(**arguments)
    except ExoscaleAPIException as error:
        problem = error.response.json()
        assert problem["title"] == title, f"{call.__name__}({arguments}) gives {problem}, not {title}"
        return problem
    raise AssertionError(f"{call.__name__}({arguments}) gives {answer}, not {title}")
