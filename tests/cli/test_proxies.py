"""Commands go past a proxy to what `no_proxy` names, also by its network."""

import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.real


# On Linux all of 127.0.0.0/8 is this machine, and only 127.0.0.1 is never asked by a proxy.
@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.9.9.9")
@pytest.mark.parametrize(("exempt", "is_direct"), [("127.9.0.0/16", True), ("10.0.0.0/8", False)])
def test_a_network_in_no_proxy_is_reached_directly(exempt, is_direct):
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.9.9.9", 0)) as monitor,
    ):
        wanted, other = (monitor, proxy) if is_direct else (proxy, monitor)
        url = f"http://127.9.9.9:{monitor.getsockname()[1]}"
        environment = {
            **os.environ,
            "http_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}",
            "no_proxy": exempt,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "beatward", "status", "--monitor", url],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wanted.settimeout(30)
        asked, _ = wanted.accept()
        with asked:
            assert asked.recv(4) == b"GET "
            asked.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        process.communicate(timeout=30)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
