#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every example of the man pages of the commands of this machine (fleet-examples.py has the others), run as it is
written, but for the names of processes, containers and devices that only the reader has. A table says how each one is
run and what it returns; an example that is not in the table fails, as does a line of the table that is no example."""
import os
import shutil
import signal
import subprocess
import sys

from examplelib import commands
from harness import BUILD, GIB, MIB, PROJECT, Machine, Temp, add_memory, check, finish, hook, same, skip

PAGES = ("status", "doctor", "zones", "stat", "hugepages", "settings", "show", "measure", "run", "numactl", "taskset",
         "migratepages", "migrate", "bind", "topology", "blocks", "top", "setup")
NUMASTOW = os.path.join(BUILD, "numastow")


# --- how each is run ------------------------------------------------------------------------------

HERE, TREE, HMAT, WATCH, PLAIN = "on this machine", "on a made tree", "on a guest's tree", "until it has printed", \
    "without root"
CPU = min(os.sched_getaffinity(0))
# --force: another test may have a container with exclusive CPUs on this machine.
TINY = "--runs 1 --time 2ms --size 4Mi --force"

# What to run, where, what is replaced by what this machine has, and the exit code, or several.
TABLE = {
    "numastow status": (TREE, {}, 4),
    """numastow status --json | jq '.hooks[] | select(.state == "problem")'""": (TREE, {}, 0),
    "numastow setup containerd": (TREE, {}, 0),
    "numastow setup containerd --write && systemctl restart containerd": (TREE, {"&& systemctl restart containerd": ""}, 0),
    "numastow doctor --level problem": (TREE, {}, 0),
    "numastow doctor --rules": (HERE, {}, 0),
    "numastow doctor --program 1 --kind latency": (HERE, {" 1 ": " PID "}, 0),
    "numastow zones --bytes --noheadings --output NODE,ZONE,FREE,MIN,LOW,HIGH": (HMAT, {}, 0),
    """numastow zones --json | jq '.nodes[] | select(.pressure != "none") | .node'""": (HMAT, {}, 0),
    "numastow zones --orders --node 0": (HMAT, {}, 0),
    "numastow stat --watch=5s": (WATCH, {}, -signal.SIGTERM),
    "numastow stat $$": (HERE, {}, 0),
    "numastow stat --meminfo --nonzero --sort 0": (HMAT, {}, 0),
    "numastow top --sort off-node": (WATCH, {}, -signal.SIGTERM),
    "numastow top --text --delay 1m --iterations 10 >numa.txt": (TREE, {"1m": "100ms"}, 0),
    "numastow top --text --iterations 1 $$": (HERE, {}, 0),
    "numastow top --json --iterations 1 | jq '.containers[] | {id, off_node_percent}'": (TREE, {}, 0),
    "numastow hugepages": (TREE, {}, 0),
    "numastow hugepages set 0-1 2Mi=512 --compact": (TREE, {}, 0),
    "numastow hugepages spread 2Mi=2048 --persist": (TREE, {}, 0),
    "numastow hugepages demote 0 1Gi=1": (TREE, {}, 1),  # no kernel splits them there, and it says so
    "numastow hugepages shrink all 2Mi": (TREE, {}, 0),
    "numastow hugepages mount 1Gi /mnt/huge --limit 4Gi": (TREE, {}, 1),  # which has no such folder: nothing is mounted
    "numastow settings": (HERE, {}, 0),
    "numastow settings --all --json": (HERE, {}, 0),
    "numastow settings numa_balancing vm.zone_reclaim_mode": (TREE, {}, 0),
    "numastow settings numa_balancing=0 --persist": (TREE, {}, 0),
    "numastow settings 'transparent_hugepage/hugepages-*kB/enabled=inherit'": (TREE, {}, 0),
    "numastow settings isolcpus=2-3 --persist": (TREE, {}, 0),
    "numastow show db": (TREE, {}, 0),
    "numastow show --output +CGROUP": (HERE, {}, (0, 4)),
    "numastow measure --from 0": (HERE, {"$": f" {TINY}"}, 0),
    "numastow measure -l --runs 1 --time 50ms": (HERE, {"$": " --time 2ms --size 4Mi --force"}, 0),
    "numastow measure --json -l -o from,to,latency": (HERE, {"$": f" {TINY}"}, 0),
    "numastow run --nodes 0 sh": (PLAIN, {}, 0),
    "numastow run --cpus 4 --exclusive --memory 8Gi --name db --user postgres -- postgres -D /srv/db": (PLAIN, {}, 125),
    """numastow run --each-node -- sh -c 'exec worker --shard "$NUMASTOW_NODE"'""": (PLAIN, {}, 0),
    "numastow numactl -N 0 -m same sleep 1": (HERE, {"sleep 1": "sleep 0"}, 0),
    "numastow numactl -i all numastow numactl --show": (HERE, {}, 0),
    "numastow numactl -N netdev:eth0 -m same COMMAND": (HERE, {"netdev:eth0": "0"}, 0),
    "numastow taskset -c 0 sleep 1": (HERE, {"-c 0 sleep 1": f"-c {CPU} sleep 0"}, 0),
    "numastow taskset -cp 1": (HERE, {"1": "PID"}, 0),
    "numastow migratepages 4711 0,1 2,3": (HERE, {"4711": "PID", "0,1": "0", "2,3": "0"}, 0),
    "numastow migrate --dry-run 4711 0 1": (HERE, {"4711": "PID", "0 1": "0 0"}, 0),
    "numastow migrate 4711 0,2 1,3": (HERE, {"4711": "PID", "0,2": "0", "1,3": "0"}, 0),
    "numastow migrate --pause 50ms 4711 all 2": (HERE, {"4711": "PID", "all 2": "all 0"}, 0),
    "numastow bind --cpus 0-3 4711": (HERE, {"4711": "PID", "0-3": f"{CPU}"}, 0),
    "numastow bind --nodes 1 4711 4712": (HERE, {"4711 4712": "PID PID", "--nodes 1": "--nodes 0"}, (0, 1)),
    "numastow bind --thread --cpus 2 4713": (HERE, {"4713": "PID", "--cpus 2": f"--cpus {CPU}"}, 0),
    "numastow topology --json | jq '.nodes[] | {id, bytes: .memory.available}'": (TREE, {}, 0),
    """numastow topology -nr -o CPU,OWNER | awk '$2 == "-" { print $1 }'""": (TREE, {}, 0),
    "numastow topology -N 0-1 --svg machine.svg": (TREE, {}, 0),
    "numastow topology --firmware --quiet || numastow topology --firmware": (HMAT, {}, 0),
    """numastow blocks --node 1 --json | jq '.blocks[] | select(.removable) | .block'""": (TREE, {}, 0),
}

# What a container may be denied, or a kernel without NUMA does not have.
NUMA = ("numastow stat $$", "numastow top --text --it", "numastow numactl", "numastow migrate", "numastow measure", "numastow bind --nodes",
        "numastow doctor --program")


def script(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


class Machines:
    """Where examples are run. The command `numastow` adds --sysroot where that is a tree."""

    def __init__(self, temp):
        os.chmod(temp, 0o755)
        self.temp, self.tree, self.bin = temp, f"{temp}/tree", f"{temp}/bin"
        os.makedirs(self.bin)
        # Everybody may read it there.
        self.built = f"{temp}/built"
        os.makedirs(self.built)
        for name in ("numastow", "numastow-view", "numastow-top", "numastow-run", "numastow-setup", "numastow-hook",
                     "base-runtime-spec.json"):
            shutil.copy(os.path.join(BUILD, name), self.built)
        script(f"{self.bin}/numastow", 'command=$1\nshift\n[ "$SYSROOT" ] && set -- --sysroot "$SYSROOT" "$@"\n'
               f'exec {self.built}/numastow "$command" "$@"\n')
        script(f"{self.bin}/worker", 'echo "$@"\n')
        script(f"{self.bin}/postgres", "exit 99\n")
        script(f"{self.bin}/COMMAND", "exit 0\n")
        self.make_tree()
        self.hmat = f"{temp}/hmat"
        os.makedirs(self.hmat)
        subprocess.run(["tar", "-xzf", os.path.join(PROJECT, "tests/dumps/qemu-hmat-6.1.tar.gz"), "-C", self.hmat,
                        "--no-same-owner"], check=True)
        self.child = subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE)

    def make_tree(self):
        machine = Machine(self.tree, nodes=2, cpus=8, pools={2 * MIB: (0, 4096), GIB: (2, 8)})
        add_memory(machine)
        machine.container("db", {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive"})
        check("a container is placed", hook(machine, "apply", machine.state("db")).code == 0)
        pid = machine.containers["db"]["pid"]
        for where in (f"/proc/{pid}", f"/proc/{pid}/task/{pid}"):
            machine.write(f"{where}/status", f"Name:\tdb\nCpus_allowed_list:\t{min(machine.cpuset('db'))}\n"
                          "Mems_allowed_list:\t0-1\n")
            machine.write(f"{where}/stat", machine.read(f"/proc/{pid}/stat") + "\n")
            machine.write(f"{where}/numa_maps", "7ffe default stack anon=3 N0=3 kernelpagesize_kB=4\n")
        machine.write("/proc/sys/kernel/numa_balancing", "1\n")
        machine.write("/proc/sys/vm/zone_reclaim_mode", "0\n")
        machine.write("/etc/containerd/config.toml", "version = 3\n")
        machine.write("/proc/cmdline", "root=/dev/vda ro\n")
        for size in (64, 2048):
            machine.write(f"/sys/kernel/mm/transparent_hugepage/hugepages-{size}kB/enabled",
                          "always inherit madvise [never]\n")
        machine.write(f"{machine.pool(0, GIB)}/demote", "0\n")
        machine.write("/sys/kernel/mm/hugepages/hugepages-1048576kB/demote_size", "2048kB\n")

    def run(self, text, how):
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "SYSROOT": ""}
        if how in (TREE, HMAT):
            env["SYSROOT"] = self.tree if how == TREE else self.hmat
        argv = ["sh", "-c", f"exec {text}" if how == WATCH else text]
        if how == PLAIN and os.geteuid() == 0:
            argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv]
        with subprocess.Popen(argv, cwd=self.temp, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            if how == WATCH:
                line = process.stdout.readline()
                process.terminate()
                return process.wait(), line, ""
            out, err = process.communicate()
            return process.returncode, out, err


def main():
    used = set()
    with Temp() as temp:
        machines = Machines(temp)
        policies = os.path.exists("/proc/self/numa_maps") and machines.run("numastow numactl -m 0 true", HERE)[0] == 0
        for page in PAGES:
            found = commands(f"numastow-{page}.1")
            check(f"numastow-{page}(1) has examples", found)
            for text in found:
                if not check(f"the table has: {text}", text in TABLE):
                    continue
                used.add(text)
                how, replaced, wanted = TABLE[text]
                command = text
                for old, new in replaced.items():
                    command = command + new if old == "$" else command.replace(old, new)
                command = command.replace("PID", str(machines.child.pid))
                if not policies and how == HERE and text.startswith(NUMA):
                    skip(text, "memory policies are not permitted here")
                    continue
                code, out, err = machines.run(command, how)
                codes = wanted if isinstance(wanted, tuple) else (wanted,)
                check(f"{text} ({how}): {wanted}", code in codes, f"exit {code}, {err!r}")
                check(f"{text}: it is right usage, and a failure has a reason", "--help" not in err and (code == 0 or out + err),
                      err)
        machines.child.communicate(b"\n")
    same("lines of the table that are no example", sorted(set(TABLE) - used), [])
    finish()


if __name__ == "__main__":
    main()
