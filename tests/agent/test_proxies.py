"""An agent goes past a proxy to what `no_proxy` names, also by its network."""

import socket
import sys

import pytest

pytestmark = pytest.mark.real


# This machine by an address for which a proxy is asked, unlike 127.0.0.1.
@pytest.mark.skipif(sys.platform != "linux", reason="needs ::ffff:127.0.0.1")
@pytest.mark.parametrize(("exempt", "is_direct"), [("::ffff:0:0/96", True), ("10.0.0.0/8", False)])
def test_a_network_in_no_proxy_is_reached_directly(
    beatward, environment, monitor, exempt, is_direct
):
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as there,
    ):
        wanted, other = (there, proxy) if is_direct else (proxy, there)
        process = beatward(
            "exec",
            "job",
            "--monitor",
            f"http://[::ffff:127.0.0.1]:{there.getsockname()[1]}",
            "--",
            "sleep",
            "600",
            env={
                **environment,
                "http_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}",
                "no_proxy": exempt,
            },
        )
        wanted.settimeout(30)
        asked, _ = wanted.accept()
        with asked:
            assert asked.recv(5) == b"POST "
        process.kill()
        process.wait(30)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
