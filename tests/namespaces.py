"""Nodes without machines: network namespaces of this one, with addresses of their own on a bridge. It needs root."""

import os
import shutil
import subprocess

DEADLINE_S = 60.0
PROGRAMS = ("ip", "nsenter")


def said(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def missing() -> str:
    """Why there can be none here; empty if there can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (apt-get install iproute2)" if absent else ""


def make(bridge: str, net: str, names: tuple[str, ...]) -> None:
    """A bridge, at which this machine has the address NET.1, and a namespace for each name: the n-th has NET.1n."""
    said("ip", "link", "add", bridge, "type", "bridge")
    said("ip", "address", "add", f"{net}.1/24", "dev", bridge)
    said("ip", "link", "set", bridge, "up")
    for number, name in enumerate(names, 1):
        space = f"{bridge}{name}"
        said("ip", "netns", "add", space)
        said("ip", "link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
        said("ip", "link", "set", space, "master", bridge, "up")
        said("ip", "-n", space, "address", "add", f"{net}.1{number}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            said("ip", "-n", space, "link", "set", link, "up")


def remove(bridge: str, names: tuple[str, ...]) -> None:
    """Take away whatever of it there is."""
    for name in names:
        subprocess.run(["ip", "link", "delete", f"{bridge}{name}"], capture_output=True)  # at once, whoever is inside
        subprocess.run(["ip", "netns", "delete", f"{bridge}{name}"], capture_output=True)
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True)
