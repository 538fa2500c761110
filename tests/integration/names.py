#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Commands take a container by its id, the beginning of its id, its name in Podman or Kubernetes, or as the last one
(`--last`). An unknown or ambiguous name is an error."""
import json
import os
import subprocess

from harness import BUILD, Machine, Temp, check, finish, hook, run, same, skip

NUMASTOW = os.path.join(BUILD, "numastow")
WEB, DB = "ab12" * 16, "ab34" * 16
PODMAN = "/var/lib/containers/storage/overlay-containers/containers.json"


def make(path):
    machine = Machine(path, cpus=8)
    for name, annotations in ((WEB, {"numastow.io/cpus": "1"}),
                              (DB, {"numastow.io/cpus": "2", **SHOP})):
        machine.container(name, annotations)
        done = hook(machine, "apply", machine.state(name))
        check(f"{name[:4]} starts", done.code == 0, done)
    machine.container("late", {"numastow.io/cpus": "99"})
    check("another is refused", hook(machine, "apply", machine.state("late")).code != 0)
    machine.write(PODMAN, json.dumps([{"id": WEB, "names": ["abacus"]}, {"id": "cd" * 32, "names": ["stopped"]}]))
    return machine


def why(machine, *words):
    return run([NUMASTOW, "why", "--sysroot", machine.path, *words], "")


def check_why(machine):
    for what, name, want in (("an id", WEB, WEB), ("the beginning of an id", "ab12a", WEB), ("Podman's name", "abacus", WEB),
                             ("the beginning of another id", "ab34", DB), ("one that was refused", "late", "late")):
        done = why(machine, "--json", name)
        same(f"why of {what}", (done.code, {e["id"] for e in json.loads(done.out or "{}").get("events", [])}), (0, {want}))
    done = why(machine, "--json", "--last")
    same("why of the last", (done.code, [(e["id"], e["event"]) for e in json.loads(done.out)["events"]]), (0, [("late", "refused")]))
    done = why(machine, WEB)
    check("why of shared CPUs", "\n    shared CPUs, memory of nodes 0\n" in done.out, done)
    done = why(machine, "nosuch")
    check("why of none", done.one_line() and '"nosuch"' in done.err, done)
    done = why(machine, "--last", "late")
    check("why of two", done.code == 2 and not done.out and "exclude" in done.err, done)
    db = [e for e in json.loads(why(machine, "--json", "main").out or '{"events": []}')["events"]]
    same("Kubernetes' name", {e["id"] for e in db}, {DB})


def check_acting(machine):
    """These commands read the ledger in /run: a mount namespace puts the simulated machine's there."""
    for command in ("release", "restore"):
        for words in ((), ("--last", WEB)):
            done = run([NUMASTOW, command, *words], "")
            check(f"{command} {' '.join(words)[:8]}: which", done.code == 2 and "--last" in done.err, done)
    prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', machine.file("/run")]
    if os.geteuid() or subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        return skip("release, restore", "needs root and a mount namespace")
    done = run([*prefix, NUMASTOW, "migrate", "--last", "0", "0"], "")
    check("migrate of the last: its cgroup is the simulated machine's", done.one_line() and DB[:12] in done.err and
          "is gone" in done.err, done)
    done = run([*prefix, NUMASTOW, "stat", "--last", WEB], "")
    check("stat of the last, and another", done.code == 2 and "exclude" in done.err, done)
    for command in ("release", "restore"):
        done = run([*prefix, NUMASTOW, command, "nosuch"], "")
        check(f"{command} of none", done.one_line() and '"nosuch"' in done.err, done)
        done = run([*prefix, NUMASTOW, command, "ab"], "")
        check(f"{command} of two", done.one_line() and "several" in done.err, done)
    for command, words, gone in (("release", ("main",), DB), ("restore", ("--last",), WEB)):
        done = run([*prefix, NUMASTOW, command, *words], "")
        check(f"{command} {words[0]}", done.code == 0 and gone[:12] in done.out, done)
    done = run([*prefix, NUMASTOW, "restore", "--last"], "")
    check("restore of the last where there is none", done.one_line() and "no container has a grant" in done.err, done)
    return None


LATE = "ef56" * 16
SHOP = {"io.kubernetes.cri.container-name": "main", "io.kubernetes.cri.sandbox-name": "db-0",
        "io.kubernetes.cri.sandbox-namespace": "shop"}
POD_SCOPE = f"crio-{DB}.scope"
LOOSE = f"libpod-{LATE}.scope"


def check_shown(path):
    """Podman does not pass a container's name to hooks. It is in the lists of Podman's storage; containers of
    `podman run --rm` have a list of their own. Every command shows and takes the name, with a grant and without."""
    machine = Machine(path, cpus=8)
    machine.container(WEB, {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive", "numastow.io/hugepages-2Mi": "4Mi"})
    check("an exclusive container is placed", hook(machine, "apply", machine.state(WEB)).code == 0)
    machine.container(LOOSE)
    machine.container(POD_SCOPE, {"numastow.io/cpus": "1", **SHOP})
    check("a container of a pod is placed", hook(machine, "apply", machine.state(POD_SCOPE, id=DB)).code == 0)
    machine.write(f"{machine.cgroup_dir('hugetlb', LOOSE)}/hugetlb.2MB.numa_stat", "total=2097152 N0=2097152 N1=0\n")
    for name in ("/", f"/{LOOSE}", f"/{POD_SCOPE}"):
        machine.write(f"{machine.cgroup_dir('memory')}{name}/memory.pressure".replace("//", "/"),
                      "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
    for c in machine.containers.values():
        task = f"/proc/{c['pid']}/task/{c['pid']}"
        machine.write(f"{task}/status", "Name:\tapp\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n")
        machine.write(f"{task}/stat", machine.read(f"/proc/{c['pid']}/stat") + "\n")
        machine.write(f"{task}/numa_maps", "7ffe default stack anon=3 N0=3 kernelpagesize_kB=4\n")
    machine.write(PODMAN, json.dumps([{"id": WEB, "names": ["abacus"]}, "no container", {"id": 5, "names": []},
                                      {"id": "99" * 32, "names": ["counter"]}, {"id": DB, "names": ["k8s_main_db-0_shop"]}]))
    machine.write(PODMAN.replace("containers.json", "volatile-containers.json"),
                  json.dumps([{"id": LATE, "names": ["beads\033[31m"]}]))
    check("gc finds the other", "1 container" in (done := hook(machine, "gc")).out + done.err or done.code == 0, done)

    def ask(command, *words):
        done = run([NUMASTOW, command, "--sysroot", machine.path, *words], "")
        check(f"{command} {' '.join(words)} answers", done.code in (0, 4), done)
        return json.loads(done.out) if "--json" in words else done.out
    ledger = ask("ledger", "--json")
    same("ledger --json: names", [[c["name"] for c in ledger[k]] for k in ("containers", "unmanaged")],
         [["abacus", "main"], ["beads?[31m"]])
    for command in ("ledger", "ls", "ps"):
        text = ask(command)
        check(f"{command}: both names", "abacus" in text and "beads?[31m" in text, text)
    check("topology --table: the owner's name", "abacus" in ask("topology", "--table"))
    users = {u["name"]: u["container_name"] for u in ask("hugepages", "--json")["users"] if u["kind"] == "container"}
    same("hugepages --json: names", users, {WEB: "abacus", LATE: "beads?[31m"})
    check("hugepages: both names", all(n in ask("hugepages") for n in users.values()))
    stalls = ask("zones", "--json")["memory_stalls"]["cgroups"]
    same("zones --json: names", {c["container"]: c["container_name"] for c in stalls if c["container"]},
         {LATE: "beads?[31m", DB: "shop/main"})
    check("zones: both names", all(f"container {n} " in ask("zones") for n in ("beads?[31m", "shop/main")))
    check("topology --table: no name of a shared container", "db-0" not in ask("topology", "--table"))
    text = ask("stat", "abacus", LATE[:9], "main")
    check("stat: their names", all(f"\n{n} " in text for n in ("abacus", "beads?[31m", "shop/main")), text)
    machine.container("99" * 32, {"numastow.io/cpus": "99"})
    done = hook(machine, "apply", machine.state("99" * 32))
    check("a refusal has Podman's name", done.code == 1 and 'place "counter": ' in done.err, done)
    machine.write(PODMAN, json.dumps([{"id": WEB, "names": ["abacus"]}]))
    done = hook(machine, "apply", machine.state("99" * 32))
    check("or the beginning of the id", done.code == 1 and f'place "{"99" * 6}": ' in done.err, done)
    for name, pid, granted in (("abacus", machine.containers[WEB]["pid"], True), (LATE[:9], machine.containers[LOOSE]["pid"], False),
                               ("beads?[31m", machine.containers[LOOSE]["pid"], False)):
        processes = ask("show", "--json", name)["processes"]
        same(f"show {name}: its process", [p["pid"] for p in processes], [pid])
        same(f"show {name}: with a grant", [p["granted"] for p in processes], [granted])
        same(f"show {name}: its container", [(p["container"], p["container_name"]) for p in processes],
             [(WEB, "abacus") if granted else (LATE, "beads?[31m")])
        text = ask("show", name)
        check(f"show {name}: its name", ("abacus" if granted else "beads?[31m, without a grant") in text, text)
    done = run([NUMASTOW, "show", "--sysroot", machine.path, ""], "")
    check("show of an empty word", done.code == 2 and "empty" in done.err, done)


ODD = b'a\tb \\x2d\\040\xff\x1b[31m\xc3\xa4"$('.ljust(255, b"x")


def check_odd_cgroups(path):
    """The kernel accepts all bytes but a newline in a cgroup's name. Its container is like any other, and what is shown
    of it is text."""
    machine = Machine(path)
    for name, annotations in (("web", {"numastow.io/cpus": "1"}), ("plain", {})):
        machine.container(name, annotations)
        odd, folder = name.encode() + ODD[len(name):], machine.cgroup_dir("cpuset", name).encode()
        os.rename(machine.path.encode() + folder, machine.path.encode() + os.path.dirname(folder) + b"/" + odd)
        with open(machine.file(f"/proc/{machine.containers[name]['pid']}/cgroup"), "wb") as handle:
            handle.write(b"0::/machine.slice/" + odd + b"\n")
        done = hook(machine, "apply", machine.state(name))
        check(f"{name} in a cgroup with an odd name starts", done.code == 0 and not done.err, done)
    machine.container("db", {"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive"})
    for command in ("apply", "gc"):
        done = hook(machine, command, machine.state("db"))
        check(f"{command} beside them", done.code == 0 and not done.err, done)
    prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', machine.file("/run")]
    if os.geteuid() or subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        return skip("what is shown of odd names", "needs root and a mount namespace")
    for words in (("ledger",), ("ledger", "--json"), ("why",), ("why", "--json")):
        out = subprocess.run([*prefix, NUMASTOW, *words], capture_output=True, check=False).stdout
        text = out.decode("utf-8", "replace")
        check(f"{' '.join(words)} of odd names: all is printable UTF-8",
              out and all(c == "\n" or c.isprintable() and c != "\ufffd" for c in text), out)
        if "--json" in words:
            check(f"{' '.join(words)} of odd names: it is JSON", json.loads(text))
    return None


with Temp() as path:
    check_why(make(f"{path}/m"))
    check_acting(make(f"{path}/n"))
    check_shown(f"{path}/shown")
    check_odd_cgroups(f"{path}/odd")
finish()
