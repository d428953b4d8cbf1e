"""Redis as a failure detector: a heartbeat is an EXPIRE, and an expired event is the verdict."""

import selectors
import socket
import statistics
import threading
import time

from servers import find, free_port, running

CONNECTIONS = 50
DYING = 1000
TTL_SECONDS = 1.0
PATIENCE_SECONDS = 60


def command(*words):
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in parts)


def connect(server):
    made = socket.create_connection(("127.0.0.1", server.port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def ask_all(server, commands, reply_size):
    """Send many commands in pieces and read all their replies, which are of one size."""
    with connect(server) as line:
        for start in range(0, len(commands), 500):
            piece = commands[start : start + 500]
            line.sendall(b"".join(piece))
            left = len(piece) * reply_size
            while left:
                left -= len(line.recv(left))


def beats(server, keys, pipeline, seconds):
    """Return EXPIREs a second and the server's processor time for each."""
    selector = selectors.DefaultSelector()
    requests = {}
    for index in range(CONNECTIONS):
        line = connect(server)
        mine = [f"live-{(index * 7919 + n * 131) % keys}" for n in range(pipeline)]
        requests[line] = b"".join(command("EXPIRE", key, 3600) for key in mine)
        selector.register(line, selectors.EVENT_READ, [0])
        line.sendall(requests[line])
    size = len(b":1\r\n") * pipeline
    count, before, begun = 0, server.cpu_seconds(), time.monotonic()
    while (took := time.monotonic() - begun) < seconds:
        for ready, _ in selector.select(0.1):
            line, read = ready.fileobj, ready.data
            read[0] += len(line.recv(65536))
            if read[0] == size:
                read[0] = 0
                count += pipeline
                line.sendall(requests[line])
    spent = server.cpu_seconds() - before
    for line in requests:
        line.close()
    return {"per_second": count / took, "ns_each": spent / count * 1e9}


def expiries(server):
    """Let keys expire beside those that live; return how late their events are."""
    deadlines, late = {}, []
    heard = connect(server)
    heard.sendall(command("SUBSCRIBE", "__keyevent@0__:expired"))
    heard.recv(4096)

    def listen():
        data = b""
        while chunk := heard.recv(65536):
            at, data = time.monotonic(), data + chunk
            *lines, data = data.split(b"\r\n")
            late.extend(at - deadlines[line] for line in lines if line in deadlines)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    with connect(server) as line:
        for index in range(DYING):
            key = b"dying-%d" % index
            line.sendall(command("SET", key.decode(), "1", "PX", int(TTL_SECONDS * 1000)))
            deadlines[key] = time.monotonic() + TTL_SECONDS
            line.recv(64)
            time.sleep(0.001)
    until = time.monotonic() + PATIENCE_SECONDS
    while len(late) < DYING and time.monotonic() < until:
        time.sleep(0.1)
    heard.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    heard.close()
    found = sorted(late)
    return {
        "dying": DYING,
        "noticed": len(found),
        "waited_s": PATIENCE_SECONDS,
        "p50_ms": statistics.median(found) * 1e3 if found else None,
        "max_ms": found[-1] * 1e3 if found else None,
    }


def measure(folder, programs, live, seconds):
    program, port = find("redis-server", "redis-tools", programs), free_port()
    words = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    words += ["--notify-keyspace-events", "Ex"]
    with running(list(map(str, words)), folder, port, programs) as server:
        alone = server.memory_bytes()
        ask_all(server, [command("SET", f"live-{n}", n, "EX", 3600) for n in range(live)], 5)
        return {
            "live": live,
            "bytes_each": (server.memory_bytes() - alone) / live,
            "expire": beats(server, live, 1, seconds),
            "expire_pipelined": beats(server, live, 16, seconds),
            "expiry": expiries(server),
        }
