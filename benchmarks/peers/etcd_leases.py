"""etcd as a failure detector: a heartbeat is a LeaseKeepAlive, a deleted key is the verdict.

Keep-alives go over gRPC streams, as etcd's own client sends them. HTTP/2 is written by hand here:
what is sent needs no compression, what comes back is counted and not read, and so few bytes are
ever under way that the peer's windows cannot close.
"""

import base64
import http.client
import json
import socket
import statistics
import struct
import threading
import time

from servers import find, free_port, running

STREAMS = 10
UNDER_WAY = 32
DYING = 200
TTL_SECONDS = 5
PATIENCE_SECONDS = 30
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
ACK, END_HEADERS = 1, 4
LARGEST = 2**31 - 1


def post(line, path, body):
    line.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = line.getresponse()
    found = json.loads(answer.read())
    assert answer.status == 200, found
    return found


def grant(server, count, seconds):
    """Return the numbers of new leases."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    found = [int(post(line, "/v3/lease/grant", {"TTL": seconds})["ID"]) for _ in range(count)]
    line.close()
    return found


# --- keep-alives over gRPC -----------------------------------------------------------------------


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def header(name, value):
    # HPACK, a literal that is not indexed: 0, then lengths below 127 and texts as they are.
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def opening(streams):
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/etcdserverpb.Lease/LeaseKeepAlive"),
        (b":authority", b"127.0.0.1"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    head = b"".join(header(*field) for field in fields)
    window = struct.pack(">HI", 4, LARGEST)  # SETTINGS_INITIAL_WINDOW_SIZE
    parts = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(SETTINGS, 0, 0, window)]
    parts.append(frame(WINDOW, 0, 0, struct.pack(">I", LARGEST - 65535)))
    parts += [frame(HEADERS, END_HEADERS, stream, head) for stream in streams]
    return b"".join(parts)


def keep_alive(stream, lease):
    message = b"\x08" + varint(lease)
    return frame(DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)


class Answers:
    """Takes what the server sends apart; counts whole messages by stream."""

    def __init__(self):
        self.data = b""
        self.bodies = {}

    def feed(self, data):
        """Return (streams that got an answer, one entry each; what has to be sent back)."""
        self.data += data
        answered, back = [], []
        while len(self.data) >= 9:
            size = int.from_bytes(self.data[:3], "big")
            if len(self.data) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self.data[3:9])
            payload, self.data = self.data[9 : 9 + size], self.data[9 + size :]
            assert kind not in (RESET, GOAWAY), payload
            if kind == DATA:
                answered += [stream] * self.whole(stream, payload)
            elif kind == PING and not flags & ACK:
                back.append(frame(PING, ACK, 0, payload))
            elif kind == SETTINGS and not flags & ACK:
                back.append(frame(SETTINGS, ACK, 0))
        return answered, b"".join(back)

    def whole(self, stream, payload):
        body = self.bodies.get(stream, b"") + payload
        count = 0
        while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
            body = body[5 + int.from_bytes(body[1:5], "big") :]
            count += 1
        self.bodies[stream] = body
        return count


def beats(server, leases, seconds):
    streams = [1 + 2 * index for index in range(STREAMS)]
    line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers, sent, count = Answers(), 0, 0
    first = [
        keep_alive(stream, leases[(index * STREAMS + place) % len(leases)])
        for index in range(UNDER_WAY)
        for place, stream in enumerate(streams)
    ]
    line.sendall(opening(streams) + b"".join(first))
    before, begun = server.cpu_seconds(), time.monotonic()
    while (took := time.monotonic() - begun) < seconds:
        data = line.recv(1 << 18)
        assert data, "etcd has closed the connection"
        answered, back = answers.feed(data)
        count += len(answered)
        following = []
        for stream in answered:
            sent += 1
            following.append(keep_alive(stream, leases[sent * 7919 % len(leases)]))
        line.sendall(back + b"".join(following))
    spent = server.cpu_seconds() - before
    line.close()
    return {"per_second": count / took, "ns_each": spent / count * 1e9}


# --- expiry --------------------------------------------------------------------------------------


def text(words):
    return base64.b64encode(words.encode()).decode()


def expiries(server):
    """Let leases run out; return how long after their time to live their keys are seen to go."""
    deadlines, late, opened = {}, [], threading.Event()
    watching = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)

    def watch():
        wanted = {"create_request": {"key": text("dying-"), "range_end": text("dying.")}}
        watching.request("POST", "/v3/watch", json.dumps(wanted))
        answer = watching.getresponse()
        while line := answer.readline():
            at = time.monotonic()
            opened.set()
            for event in json.loads(line)["result"].get("events", []):
                if event.get("type") == "DELETE":
                    late.append(at - deadlines[event["kv"]["key"]])
                    if len(late) == DYING:
                        return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert opened.wait(10), "etcd did not open a watch"
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for index in range(DYING):
        key = text(f"dying-{index}")
        lease = post(line, "/v3/lease/grant", {"TTL": TTL_SECONDS})["ID"]
        deadlines[key] = time.monotonic() + TTL_SECONDS
        post(line, "/v3/kv/put", {"key": key, "value": text("1"), "lease": lease})
    line.close()
    thread.join(TTL_SECONDS + PATIENCE_SECONDS)
    found = sorted(late)
    return {
        "dying": DYING,
        "noticed": len(found),
        "waited_s": PATIENCE_SECONDS,
        "p50_ms": statistics.median(found) * 1e3 if found else None,
        "max_ms": found[-1] * 1e3 if found else None,
    }


def measure(folder, programs, live, seconds):
    program, port, peers = find("etcd", "etcd-server", programs), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    words = [program, "--data-dir", folder / "data", "--log-outputs", "stderr"]
    words += ["--listen-client-urls", url, "--advertise-client-urls", url]
    words += ["--listen-peer-urls", f"http://127.0.0.1:{peers}"]
    words += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}"]
    words += ["--initial-cluster", f"default=http://127.0.0.1:{peers}"]
    with running(list(map(str, words)), folder, port) as server:
        alone = server.memory_bytes()
        leases = grant(server, live, 3600)
        return {
            "live": live,
            "bytes_each": (server.memory_bytes() - alone) / live,
            "keep_alive": beats(server, leases, seconds),
            "expiry": expiries(server),
        }
