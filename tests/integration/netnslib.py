# SPDX-License-Identifier: Apache-2.0
"""Network namespaces around one with a bridge, for tests whose programs are on several machines."""
import subprocess


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


def make_namespaces(hub, network, names):
    """The bridge has the address NETWORK.1, the namespaces NETWORK.11 and the next ones. Returns why it did not
    work, or None."""
    steps = [["netns", "add", hub], ["-n", hub, "link", "set", "lo", "up"],
             ["-n", hub, "link", "add", "br0", "type", "bridge"],
             ["-n", hub, "addr", "add", f"{network}.1/24", "dev", "br0"],
             ["-n", hub, "link", "set", "br0", "up"]]
    for i, ns in enumerate(names):
        steps += [["netns", "add", ns],
                  ["-n", hub, "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", ns],
                  ["-n", hub, "link", "set", f"v{i}", "master", "br0", "up"],
                  ["-n", ns, "link", "set", "lo", "up"],
                  ["-n", ns, "addr", "add", f"{network}.{i + 11}/24", "dev", "eth0"],
                  ["-n", ns, "link", "set", "eth0", "up"]]
    for step in steps:
        done = ip(*step)
        if done.returncode:
            return f"ip {' '.join(step)}: {done.stderr.strip()}"
    return None


def drop_namespaces(hub, names):
    for name in (*names, hub):
        ip("netns", "del", name)
