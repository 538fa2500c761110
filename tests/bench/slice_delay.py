#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long it takes from bringing a memory block online, or offline, until the API server has the machine's changed slice.
Runs in the virtual machine.

usage: slice_delay.py KUBECONFIG RUNS     prints "online" or "offline", and two times in microseconds: of the write to the
                                          block's file alone, and of all until the watch has the slice
"""
import base64
import glob
import json
import ssl
import sys
import time
import urllib.request

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
QUIET = 1  # second: the agent publishes changes that follow each other sooner as one


def ask(config, query):
    cluster, token = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    request = urllib.request.Request(f"{cluster['server']}{SLICES}{query}", headers={"Authorization": f"Bearer {token}"})
    return urllib.request.urlopen(request, timeout=300, context=context)


def memory(one):
    """Return {device: memory} of a slice; None: the slice is another driver's."""
    if one["spec"].get("driver") != "numastow.io":
        return None
    return {d["name"]: d.get("capacity", {}).get("memory", {}).get("value") for d in one["spec"].get("devices", [])}


def changed(events, before):
    """Wait for a slice whose memory differs, and return it."""
    for line in events:
        found = memory(json.loads(line)["object"])
        if found and found != before:
            return found
    raise EOFError("the watch has ended")


def measure(kubeconfig, runs):
    with open(kubeconfig, encoding="ascii") as handle:
        config = json.load(handle)
    blocks = [p for p in glob.glob("/sys/devices/system/memory/memory*/state") if open(p, encoding="ascii").read() == "offline\n"]
    with ask(config, "") as answer:
        whole = json.load(answer)
    last = next(filter(None, map(memory, whole["items"])))
    version, block = whole["metadata"]["resourceVersion"], max(blocks)
    with ask(config, f"?watch=1&resourceVersion={version}") as events:
        for _ in range(runs):
            for state, word in (("online", "online_movable"), ("offline", "offline")):
                time.sleep(QUIET)
                began = time.monotonic()
                with open(block, "w", encoding="ascii") as out:
                    out.write(word)
                written = time.monotonic()
                last = changed(events, last)
                print(state, round((written - began) * 1e6), round((time.monotonic() - began) * 1e6), flush=True)


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2]))
