# SPDX-License-Identifier: Apache-2.0
"""Runs in the virtual machine: connects to the test, and runs the commands that it sends, one a line, until it is told to
end.

usage: guest.py HOST PORT
"""
import json
import socket
import subprocess
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    lines = connection.makefile("rw", encoding="utf-8")
    for line in lines:
        asked = json.loads(line)
        if "end" in asked:
            sys.exit(asked["end"])
        done = subprocess.run(["/bin/bash", "-c", asked["run"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        lines.write(json.dumps([done.returncode, done.stdout.decode(errors="replace")]) + "\n")
        lines.flush()
# The test has closed the connection.
sys.exit(1)
