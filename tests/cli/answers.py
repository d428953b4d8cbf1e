"""Answers that the API's shapes allow, made from the models themselves, and a place to ask them.

A value is made for each member of a model; who makes it (`Plain`, `Drawn`) decides which, and
whether a member that may be null is null.
"""

import http.server
import json
import random
import threading
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel

from beatward.web import guard_shapes, quality_shapes, service_shapes, shapes

SHAPES = {
    "/healthz": shapes.HealthShape,
    "/v1/status": shapes.StatusShape,
    "/v1/nodes": shapes.NodeList,
    "/v1/nodes/web-1": shapes.Node,
    "/v1/nodes/web-1/explain": shapes.Explanation,
    "/v1/events": shapes.EventList,
    "/v1/services": service_shapes.ServiceList,
    "/v1/services/db": service_shapes.ServiceShape,
    "/v1/jobs": shapes.JobList,
    "/v1/silences": shapes.SilenceList,
    "/v1/guard": guard_shapes.GuardShape,
    "/v1/quality": quality_shapes.QualityReport,
}
# Members that are instants, as their descriptions say; any other text would be no answer of ours.
INSTANTS = {
    *("at", "since", "heard", "deadline", "due", "started", "ended", "succeeded", "until", "last"),
}
AT = "2026-11-23T07:15:02.123Z"


class Plain:
    """The same value for the same kind of member; `null` is the one member that is null."""

    def __init__(self, null=None):
        self._null = null
        self.nullable = []

    def is_null(self, path):
        self.nullable.append(path)
        return path == self._null

    def text(self):
        return "some words"

    def whole(self):
        return 1_500_000_000

    def number(self):
        return 12.5

    def flag(self):
        return True

    def one_of(self, words):
        return words[-1]

    def size(self):
        return 1

    def anything(self):
        return [1, "two", None]


class Drawn:
    """Values by chance, among them those that are awkward to print."""

    _TEXTS = (
        "",
        "web-1",
        "[/bold]",
        "[x]",
        ":heart:",
        "\x1b[2J",
        "a\nb",
        "\ud800",
        "zwölf",
        "名前",
    )
    _WHOLES = (0, 1, -1, 999, 10**9, -(10**10), 2**63 - 1, -(2**63))
    _NUMBERS = (0.0, -1.0, 0.5, 12.34567, 1e300)

    def __init__(self, seed):
        self._random = random.Random(seed)

    def is_null(self, path):
        return self._random.random() < 0.4

    def text(self):
        return self._random.choice(self._TEXTS)

    def whole(self):
        return self._random.choice(self._WHOLES)

    def number(self):
        return self._random.choice(self._NUMBERS)

    def flag(self):
        return self._random.random() < 0.5

    def one_of(self, words):
        return self._random.choice(words)

    def size(self):
        return self._random.randrange(4)

    def anything(self):
        makers = (self.text, self.whole, self.number, self.flag, lambda: None, lambda: [None, "x"])
        return self._random.choice(makers)()


def make(kind, maker, path=()):
    """Return a JSON value that an annotation allows; `path` is where it stands."""
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            field.alias or name: make(field.annotation, maker, (*path, field.alias or name))
            for name, field in kind.model_fields.items()
        }
    if origin is Annotated:
        return make(parts[0], maker, path)
    if origin in (Union, types.UnionType):
        if type(None) in parts and maker.is_null(path):
            return None
        return make(next(part for part in parts if part is not type(None)), maker, path)
    if origin is Literal:
        return maker.one_of(parts)
    if origin is list:
        return [make(parts[0], maker, path) for _ in range(maker.size())]
    if origin is dict:
        values = [make(parts[1], maker, path) for _ in range(maker.size())]
        return {maker.text(): value for value in values}
    if kind is str:
        return AT if path[-1] in INSTANTS else maker.text()
    scalars = {int: maker.whole, float: maker.number, bool: maker.flag, Any: maker.anything}
    return scalars[kind]()


def answer(path, maker):
    """Return an answer to a question; a list of nodes is all on its first page."""
    found = make(SHAPES[path], maker)
    if path == "/v1/nodes":
        found["next"] = None
    if path == "/v1/events":
        found["last"] = 7
    if path == "/v1/status":
        # What a monitor of this version says in any case.
        found["nodes"] |= dict.fromkeys(("total", "alive", "paused", "dead"), 1)
        found["services"]["counts"]["total"] = 1
    return found


class Place:
    """A monitor's address at which `answers` are given, whatever is asked behind the path."""

    def __init__(self):
        self.answers = {}
        place = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = json.dumps(place.answers[urlsplit(self.path).path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
