"""What `make.py` has the older version do and `test_upgrade.py` today's: settings, and answers.

`make.py` imports it as a neighbour, because `tests` is the older version's there.
"""

SETTINGS = """
[failover]
lease = "3s"

[action.alarm]
kind = "webhook"
url = "{url}"
retry_max = "1s"
destructive = false

[action.note]
kind = "exec"
command = ["true"]
destructive = false

[[rule]]
on = ["dead"]
actions = ["alarm", "note"]
"""


def answers(monitor):
    """Return what a monitor (a `Monitor`) knows."""
    return {
        "nodes": monitor.get("/v1/nodes")["nodes"],
        "services": monitor.get("/v1/services")["services"],
        "silences": monitor.get("/v1/silences")["silences"],
        "events": monitor.events(),
    }
