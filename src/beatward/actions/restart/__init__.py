"""Drivers that revive in place: a command on the monitor's machine, or a named run on an agent."""
