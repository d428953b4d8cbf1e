"""The bare limit: a process that drains one socket at the monitor's tick and does nothing else.

Written in C and compiled when it is needed, because what Python adds is part of what is to be
measured. Where there is no compiler it is our own door in Python, and the report says so. Both
speak the same protocol: a line with the port, then for every line asked a line with
`instant_ns cpu_ns datagrams bytes drops`; they end when no more questions come.
"""

import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from beatward.bench.report import BenchFailed
from beatward.core.protocol.record import RECORD_SIZE
from beatward.transport import open_door
from beatward.values import split_address

_COMPILE_SECONDS = 30
# 1024 messages a call and a sleep until the next tick, as the monitor's own loop has them, but
# neither addresses nor clocks: the least that receiving can cost.
_SOURCE = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1024, ROW = 1472, MEMINFO = 55, DROPS = 8, SECOND = 1000000000 };

static char rows[BATCH][ROW];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static int64_t read_clock(clockid_t which)
{
    struct timespec at;
    clock_gettime(which, &at);
    return (int64_t)at.tv_sec * SECOND + at.tv_nsec;
}

int main(int count, char **words)
{
    int64_t tick = atoll(words[1]), due, datagrams = 0, bytes = 0;
    int size = atoi(words[2]), door = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t length = sizeof here;
    struct pollfd asked = {.fd = 0, .events = POLLIN};

    (void)count;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(door, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(door, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(door, (struct sockaddr *)&here, sizeof here)) return 1;
    getsockname(door, (struct sockaddr *)&here, &length);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){rows[i], ROW};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (due = read_clock(CLOCK_MONOTONIC);;) {
        int got;
        do {
            got = recvmmsg(door, messages, BATCH, MSG_DONTWAIT, NULL);
            for (int i = 0; i < got; i++) bytes += messages[i].msg_len;
            if (got > 0) datagrams += got;
        } while (got == BATCH);
        if (poll(&asked, 1, 0) > 0) {
            char line[16];
            uint32_t info[9] = {0};
            length = sizeof info;
            if (read(0, line, sizeof line) <= 0) return 0;
            getsockopt(door, SOL_SOCKET, MEMINFO, info, &length);
            printf("%lld %lld %lld %lld %u\n", (long long)read_clock(CLOCK_MONOTONIC),
                   (long long)read_clock(CLOCK_PROCESS_CPUTIME_ID), (long long)datagrams,
                   (long long)bytes, info[DROPS]);
            fflush(stdout);
        }
        due += tick;
        if (due < read_clock(CLOCK_MONOTONIC)) {
            due = read_clock(CLOCK_MONOTONIC);
        } else {
            struct timespec at = {due / SECOND, due % SECOND};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        }
    }
}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """Counters at one instant; heartbeats are the records that fit into the bytes."""

    at_ns: int
    cpu_ns: int
    datagrams: int
    records: int
    drops: int


class Bare:
    """The parent's hand on the process. `language` is `c` or `python`."""

    def __init__(self, process: "subprocess.Popen[str]", language: str) -> None:
        self._process = process
        self.language = language
        self.address = ("127.0.0.1", int(self._line()))

    @property
    def process_id(self) -> int:
        """The process, for a meter of the machine."""
        return self._process.pid

    def look(self) -> Look:
        """Ask for the counters."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        at_ns, cpu_ns, datagrams, size, drops = map(int, self._line().split())
        return Look(at_ns, cpu_ns, datagrams, size // RECORD_SIZE, drops)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed("the bare receiver did not start; what it said is above")
        return line


@contextmanager
def running(folder: Path, *, tick_ns: int, receive_buffer: int) -> Iterator[Bare]:
    """Run the receiver, compiled in a folder of the caller's."""
    program = _compiled(folder)
    module = [sys.executable, "-m", "beatward.bench.bare"]
    command = [*([str(program)] if program else module), str(tick_ns), str(receive_buffer)]
    process = subprocess.Popen(  # noqa: S603  our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Bare(process, "c" if program else "python")
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # it ends by itself
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _compiled(folder: Path) -> Path | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, program = folder / "bare.c", folder / "bare"
    source.write_text(_SOURCE, "utf-8")
    command = [compiler, "-O2", "-o", str(program), str(source)]
    try:
        subprocess.run(  # noqa: S603  the system's own compiler
            command, check=True, capture_output=True, timeout=_COMPILE_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None  # a compiler without headers is none
    return program


def receive(tick_ns: int, receive_buffer: int) -> None:
    """Do in Python what the C program does, until standard input ends."""
    with open_door("127.0.0.1:0", receive_buffer, time.monotonic_ns) as door:
        print(split_address(door.address)[1], flush=True)  # noqa: T201  the protocol
        due_ns = time.monotonic_ns()
        while True:
            door.drain()
            if select.select([sys.stdin], [], [], 0)[0]:
                if not sys.stdin.readline():
                    return
                found = (time.monotonic_ns(), time.process_time_ns(), door.datagrams_count)
                print(*found, door.bytes_count, door.drops() or 0, flush=True)  # noqa: T201
            due_ns = max(due_ns + tick_ns, time.monotonic_ns())
            time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


if __name__ == "__main__":
    receive(int(sys.argv[1]), int(sys.argv[2]))
