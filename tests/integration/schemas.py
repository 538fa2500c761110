#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The schemas of docs/schemas: each command's JSON on this machine, on trees of real machines and on simulated ones is what its
schema has; a key more or less is refused; every schema is used, every key seen, and no command with --json is without one."""
import contextlib
import copy
import glob
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess

from jsonschema import Draft202012Validator

from harness import BLOCK, BUILD, DIMM, GIB, MIB, PROJECT, Machine, Temp, add_memory, check, claim, finish, hook, run, same, skip
from schemalib import ALL, VALIDATORS
from treelib import firmware_digest

NUMASTOW = os.path.join(BUILD, "numastow")
DUMPS = os.environ.get("NUMASTOW_DUMPS") or os.path.join(PROJECT, "../shared/sysfs-dumps")
CONTAINER = "a" * 64
LRU, BUDDY, ANON, HEAD, TAIL, HUGE = 1 << 5, 1 << 10, 1 << 12, 1 << 15, 1 << 16, 1 << 17  # of /proc/kpageflags
UID = "0f1e2d3c-0000-4000-8000-000000000001"

# The commands that ask agent or scheduler, or print what these print: their JSON is a message of proto/numastow/v1, and
# fleet-peers.py and agent-drain.py validate it.
MESSAGES = {"drain", "drains", "cancel", "containers", "repin", "nodes", "node", "watch", "place", "reservations", "fence",
            "unfence"}
KUBECTL = {"kubectl-explain", "kubectl-nodes", "kubectl-where"}  # kubectl.py validates them
MADE = {*MESSAGES, "explain-cluster", "release-cluster", "messages"}
# Keys that take a kernel or device that no test has.
RARE = {
    "ledger": {"containers.partition", "containers.partition.valid", "containers.partition.reason"},
    "hugepages-changes": {"changes.split_size", "changes.pages_got"},
    "online": {f"blocks.culprits.{k}" for k in ALL["messages"]["$defs"]["DrainCulprit"]["properties"]},
    "topology-firmware": {f"initiators.{k}" for k in ("device", "domain", "node", "enabled", "port")},
    "migrate": {"container", "pairs.from", "pairs.to"},
    "bind": {f"cgroups.{k}" for k in ("cgroup", "mems", "moved")},
}
# On some machines only: numa_maps, /proc/kpageflags, mbind(2), a namespace.
HERE_ONLY = {"bind", "drain-explain", "migrate", "measure", "why"}


used, seen = {name: [] for name in VALIDATORS}, {name: set() for name in VALIDATORS}
commands, shapes = set(), {}


# --- the schemas themselves -----------------------------------------------------------------------

def resolve(name, schema):
    """Follows a reference: which file and part it is in."""
    while "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        name = file[:-len(".json")] if file else name
        schema = ALL[name]
        for word in filter(None, pointer.split("/")):
            schema = schema[word]
    return name, schema


def parts(schema):
    """All schemas within a schema."""
    yield schema
    for key in ("properties", "patternProperties", "$defs"):
        for inner in schema.get(key, {}).values():
            yield from parts(inner)
    for inner in [schema["items"]] if "items" in schema else schema.get("oneOf", []):
        yield from parts(inner)


def keys(name, schema, path=(), within=()):
    """The paths of all keys that a schema has; what contains itself is gone through once."""
    reference = (name, schema.get("$ref"))
    if schema.get("$ref") and reference in within:
        return
    name, schema = resolve(name, schema)
    within = (*within, reference)
    for inner in [schema["items"]] if "items" in schema else schema.get("oneOf", []):
        yield from keys(name, inner, path, within)
    for key, inner in schema.get("properties", {}).items():
        yield ".".join((*path, key))
        yield from keys(name, inner, (*path, key), within)


def paths(document, path=()):
    """The paths of all keys that a document has."""
    for inner in document if isinstance(document, list) else []:
        yield from paths(inner, path)
    for key, inner in document.items() if isinstance(document, dict) else []:
        here = path if path[-1:] == (key,) == ("children",) else (*path, key)
        yield ".".join(here)
        yield from paths(inner, here)


def check_schemas():
    for name, schema in ALL.items():
        Draft202012Validator.check_schema(schema)
        found = list(parts(schema))
        objects = [p for p in found if "object" in (p.get("type") if isinstance(p.get("type"), list) else [p.get("type")])]
        same(f"{name}: every object is closed", [p for p in objects if p.get("additionalProperties") is not False], [])
        same(f"{name}: no required key is unknown",
             [k for p in objects for k in p.get("required", []) if k not in p.get("properties", {})], [])
        wrong = [k for p in objects for k, s in p.get("properties", {}).items()
                 if "description" not in s and "description" not in resolve(name, s)[1] and
                 resolve(name, s)[1].get("type") not in ("array", "object")]
        same(f"{name}: every value is described", wrong, [])
        if name not in ("common", *MADE):
            lists = [p["properties"]["nodes"] for p in objects if "nodes" in p.get("properties", {})]
            same(f"{name}: nodes are objects with node", [n for n in lists if "node" not in n.get("items", {}).get("properties", {})], [])
        for form in schema.get("oneOf", [schema]) if name not in ("common", "messages") else []:
            same(f"{name}: an object with version", [form["type"], form["properties"]["version"], "version" in form["required"]],
                 ["object", {"$ref": "common.json#/$defs/version"}, True])


def check_made():
    """The schemas of messages are what tests/tools/message-schemas makes of the .proto files."""
    with Temp() as temp:
        done = run([f"{PROJECT}/tests/tools/message-schemas", temp], "")
        check("the schemas of messages can be made", done.code == 0, done)
        same("and are these", sorted(os.path.basename(p)[:-len(".json")] for p in glob.glob(f"{temp}/*.json")), sorted(MADE))
        for name in sorted(MADE):
            with open(f"{temp}/{name}.json", encoding="utf-8") as handle:
                same(f"{name}.json is as it is made", json.load(handle), ALL[name])


# --- documents ----------------------------------------------------------------------------------------

def shape(document):
    """Documents of the same shape have the same keys: one of each is tried with a key more and less."""
    if isinstance(document, dict):
        return tuple((k, shape(v)) for k, v in document.items())
    return tuple(sorted({repr(shape(v)) for v in document})) if isinstance(document, list) else type(document).__name__


def validate(name, what, text):
    try:
        document = json.loads(text)
    except ValueError as error:
        return check(f"{what}: JSON", False, f"{error}: {text[:200]}")
    errors = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in VALIDATORS[name].iter_errors(document)]
    check(f"{what}: as docs/schemas/{name}.json has it", not errors, errors[:5])
    used[name].append(what)
    seen[name].update(paths(document))
    if not errors and len(text) < 200000:
        shapes.setdefault((name, repr(shape(document))), document)
    return document


def ask(name, *words, codes=(0, 4), may_fail=False, prefix=()):
    """Validates what a command prints; with `may_fail` it may refuse a tree instead, in one line and without JSON."""
    what = " ".join(words)
    done = run([*prefix, NUMASTOW, *words], "")
    if may_fail and done.code == 1 and not done.out:
        check(f"{what}: refused in one line", done.one_line(), done)
        return None
    commands.add(words[0])
    return validate(name, what, done.out) if check(f"{what}: exit code", done.code in codes, done) else None


def all_of(root, may_fail=False):
    """All that reads a tree."""
    for name, *words in (
            ("topology", "topology"), ("topology-table", "topology", "--table", "--output-all"),
            ("topology-tree", "topology", "--tree", "--output-all"), ("topology-firmware", "topology", "--firmware"),
            ("blocks", "blocks"), ("ledger", "ledger"), ("explain", "explain", "cpus=1", "hugepages-2Mi=2Mi"),
            ("explain", "explain", "cpus=8000"), ("status", "status"), ("doctor", "doctor"),
            ("doctor-rules", "doctor", "--rules"), ("doctor-program", "doctor", "--program", "nosuch"),
            ("zones", "zones", "--lists"), ("stat", "stat"), ("stat-meminfo", "stat", "--meminfo"),
            ("hugepages", "hugepages"), ("settings", "settings"), ("show", "show"), ("top", "top", "--iterations", "1", "-d", "100ms")):
        ask(name, *words, "--json", "--sysroot", root, codes=(0, 3) if words[0] == "explain" else (0, 4), may_fail=may_fail)


def check_refused():
    """A key more, and each key less that is required, at every place of a document of each shape."""
    def places(document):
        if isinstance(document, dict):
            yield document
        for inner in document.values() if isinstance(document, dict) else document if isinstance(document, list) else []:
            yield from places(inner)

    taken, least = [], {}
    for (name, _), document in shapes.items():
        if name not in least or len(json.dumps(document)) > len(json.dumps(least[name])):
            least[name] = document
    for name, document in least.items():
        document, done = copy.deepcopy(document), set()
        for place in places(document):
            kind = tuple(sorted(place))
            if kind in done:
                continue
            done.add(kind)
            place["no_such_key"] = None
            if VALIDATORS[name].is_valid(document):
                taken.append((name, kind))
            del place["no_such_key"]
    same("a key that no schema has is refused everywhere", taken, [])
    check("in documents of every schema", set(least) >= set(VALIDATORS) - HERE_ONLY - MADE - KUBECTL, set(VALIDATORS) - set(least))
    for name in ("zones", "stat", "status", "topology"):
        for key in list(least[name]):
            less = {k: v for k, v in least[name].items() if k != key}
            check(f"{name} without {key} is refused", not VALIDATORS[name].is_valid(less))
    for name, path, wrong in (("stat", ("nodes", 0, "node"), "0"), ("zones", ("zones", 0, "free"), "1Gi"),
                              ("topology", ("cpus",), [0, 1]), ("status", ("refusals", 0, "at"), 1700000000),
                              ("topology", ("nodes", 0, "memory_blocks", "total"), None)):
        document = copy.deepcopy(next(d for (n, _), d in shapes.items() if n == name and d[path[0]]))
        place = document
        for word in path[:-1]:
            place = place[word]
        place[path[-1]] = wrong
        check(f"{name}: {path[-1]} as {wrong!r} is refused", not VALIDATORS[name].is_valid(document))


# --- trees ------------------------------------------------------------------------------------------------

def unpack(tarball, folder):
    """The tree's root: the folder that has sys in it, at the top or one level down."""
    os.makedirs(folder)
    subprocess.run(["tar", "-xf", tarball, "-C", folder, "--no-same-owner", "--delay-directory-restore"],
                   stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=False)
    return next(r.rstrip("/") for r in (folder, *sorted(glob.glob(f"{folder}/*/"))) if os.path.isdir(f"{r}/sys"))


def check_dumps(temp):
    names = ("32em64t-2n8c+dax+nvme+mic+dimms", "40intel64-2g2n4c+pcilocality", "48amd64-4pa2n6c-sparse",
             "8em64t-2s2ca2c-buggynuma", "256ia64-64n2s2c", "fakeheteromemtiers", "memblocks-x86_64-16g", "memblocks-s390-zvm-6g")
    tarballs = [t for n in names for t in glob.glob(os.path.join(glob.escape(DUMPS), f"{n}.tar.*"))]
    if not tarballs:
        skip("trees of real machines", f"no tarballs in {DUMPS}, set NUMASTOW_DUMPS")
    for tarball in (*tarballs, os.path.join(PROJECT, "tests/dumps/qemu-hmat-6.1.tar.gz")):
        folder = f"{temp}/dump"
        all_of(unpack(tarball, folder), may_fail=True)
        shutil.rmtree(folder)
    for release in ("6.1-v1", "6.12-v2"):
        subprocess.run(["tar", "-xJf", f"{PROJECT}/tests/data/linux-{release}.tar.xz", "-C", temp], check=True)
        tree = f"{temp}/linux-{release}/boot"
        all_of(tree, may_fail=True)
        with open(f"{temp}/linux-{release}/pid", encoding="ascii") as handle:
            pid = handle.read().strip()
        ask("stat-programs", "stat", "--json", "--sysroot", tree, pid, CONTAINER[:12])


def write_pages(machine, owner):
    """A hugepage at the start of the DIMM, anonymous pages of a cgroup in its second block; all the rest is free."""
    n, first = (max(DIMM) + 1) * (BLOCK // 4096), DIMM[0] * (BLOCK // 4096)
    flags, owners = [BUDDY] * n, [0] * n
    flags[first:first + 512] = [HUGE | HEAD] + [HUGE | TAIL] * 511
    first += BLOCK // 4096
    flags[first:first + 256], owners[first:first + 256] = [LRU | ANON] * 256, [os.stat(owner).st_ino] * 256
    for name, words in (("kpageflags", flags), ("kpagecgroup", owners)):
        with open(machine.file(f"/proc/{name}"), "wb") as handle:
            handle.write(struct.pack(f"{n}Q", *words))


def make(temp, cgroup):
    machine = Machine(f"{temp}/v{cgroup}", cpus=8, llc=2, memory=4 * GIB, pools={2 * MIB: (8, 64)}, cgroup=cgroup)
    add_memory(machine)
    nic = "/sys/devices/pci0000:00/0000:00:03.0"
    machine.write(f"{nic}/class", "0x020000\n")
    machine.write(f"{nic}/numa_node", "1\n")
    os.makedirs(machine.file("/sys/bus/pci/devices"))
    os.symlink("../../../devices/pci0000:00/0000:00:03.0", machine.file("/sys/bus/pci/devices/0000:00:03.0"))
    for name, value in (("run", 1), ("merge_across_nodes", 1), ("pages_sharing", 4321)):  # a finding
        machine.write(f"/sys/kernel/mm/ksm/{name}", f"{value}\n")
    machine.write("/proc/mounts", "hugetlbfs /mnt hugetlbfs rw,pagesize=2M,size=64M 0 0\n")
    machine.write("/proc/800/status", "Name:\tmysqld\nState:\tS\nPid:\t800\nVmSize:\t  16384 kB\nVmRSS:\t  8192 kB\nThreads:\t2\n"
                  "Cpus_allowed_list:\t0-1\nMems_allowed_list:\t0\n")
    machine.write("/proc/800/numa_maps", "7f00 default anon=300 dirty=300 N0=100 N1=200 kernelpagesize_kB=4\n")
    machine.write("/proc/800/stat", "800 (mysqld) S 1" + " 0" * 34 + " 1 0 0\n")
    for name in ("stat", "status", "numa_maps"):
        machine.write(f"/proc/800/task/800/{name}", machine.read(f"/proc/800/{name}") + "\n")
    machine.write("/var/lib/numastow/measure.json", json.dumps({
        "measured": {"firmware": firmware_digest(machine.path), "time": "2026-01-31T12:00:00Z", "virtualization": "none"},
        "pairs": [{"from": 0, "to": 1, "latency_ns": 140.5, "latency_4k_ns": None, "read_mbps": 1e5, "read_write_mbps": None}]}))
    return machine


def fill(machine, what):
    """Grants of each kind, a refusal, a claim, and a container that has none."""
    for name, annotations in (("web", {"cpus": "2", "cpu-mode": "exclusive", "memory": "64Mi", "hugepages-2Mi": "32Mi"}),
                              ("db", {"cpus": "1"}), ("plain", {})):
        machine.container(name, {f"numastow.io/{k}": v for k, v in annotations.items()})
        done = hook(machine, "apply", machine.state(name))
        check(f"{what}: {name} starts", done.code == 0, done)
    machine.container("big", {"numastow.io/cpus": "99"})
    check(f"{what}: another is refused", hook(machine, "apply", machine.state("big")).code != 0)
    done = claim(machine, "take", UID, "team/db", "0c0c0c0c-0000-4000-8000-000000000001:main:1:2:exclusive:64:0")
    check(f"{what}: a claim's share", done.code == 0, done)
    arguments = ("--claim", UID, "--share", "0c0c0c0c-0000-4000-8000-000000000001")
    state = machine.container("pod", config={
        "ociVersion": "1.0.2", "annotations": {}, "linux": {"resources": {}}, "hooks": {"createRuntime": [
            {"path": "/usr/libexec/numastow/numastow-hook", "args": ["numastow-hook", "apply", *arguments]}]}})
    done = hook(machine, "apply", state, args=arguments)
    check(f"{what}: and its container", done.code == 0, done)


def check_machines(temp):
    os.makedirs(f"{temp}/empty")
    all_of(f"{temp}/empty", may_fail=True)
    for cgroup in (1, 2):
        machine = make(temp, cgroup)
        all_of(machine.path)
        fill(machine, f"v{cgroup}")
        all_of(machine.path)
        at = ("--json", "--sysroot", machine.path)
        ask("show", "show", *at, "web", "800")
        ask("stat-programs", "stat", *at, "800", codes=(0, 64))
        ask("stat-programs", "stat", *at, "--last", codes=(0, 64))
        machine.write("/etc/numastow/client.yaml", "timeout: late\n")
        ask("config-check", "config", "check", *at, codes=(1,))
        os.unlink(machine.file("/etc/numastow/client.yaml"))
        write_pages(machine, machine.file(machine.cgroup_dir("memory", "web")))
        ask("blocks", "blocks", *at, "--all", "--owners")
        for kind in ("latency", "capacity"):
            ask("doctor-program", "doctor", *at, "--program", "mysqld", "--kind", kind)
        ask("doctor-program", "doctor", *at, "--program", "800")
        ask("hugepages-changes", "hugepages", *at, "set", "all", "2Mi=16")
        ask("hugepages-changes", "hugepages", *at, "spread", "2Mi=40")
        ask("online", "online", *at, "--dry-run", f"{DIMM[0]}-{DIMM[-1]}")
        ask("online", "offline", *at, "128Mi")
        ask("online", "online", *at, "--zone", "kernel", f"{DIMM[0]}-{DIMM[-1]}", codes=(0, 1, 64))
        check_why(machine, f"v{cgroup}")
        check_top(machine)


def check_top(machine):
    """With a drain in progress, and the pages of a container and of a process."""
    row = {"id": "0123456789abcdef", "step": 5, "worker_pid": 0, "worker_start": 0, "ordered": 0, "cancel": 0, "resume": 0,
           "node": 1, "device": "dimm0", "eject": 0, "keep": 0, "elsewhere": 0, "block_timeout": 1, "timeout": 0,
           "removal_timeout": 0, "rate": 0, "message": "", "created": 1, "updated": 1, "bytes": 4 * BLOCK,
           "bytes_offline": BLOCK, "bytes_staying": 0, "release": 0, "code": 0}
    with contextlib.closing(sqlite3.connect(machine.file("/run/numastow/ledger.db"), 60)) as ledger, ledger:
        ledger.execute(f"INSERT INTO drain({', '.join(row)}) VALUES({', '.join(':' + k for k in row)})", row)
    at = ("--json", "--iterations", "1", "--delay", "100ms", "--sysroot", machine.path)
    found = ask("top", "top", *at, "800")
    same("top: the drain", found["drains"], [{"id": row["id"], "node": 1, "step": "offlining", "offline": BLOCK, "bytes": 4 * BLOCK}])
    same("top: the pages of a process", [(p["pid"], p["memory"], p["nodes"]) for p in found["pages"]["processes"]],
         [(800, 300 * 4096, [{"node": 0, "memory": 100 * 4096}, {"node": 1, "memory": 200 * 4096}])])
    ask("top", "top", *at, "web")


def check_why(machine, what):
    """The command reads this machine's ledger: in a mount namespace that is the simulated machine's."""
    prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', machine.file("/run")]
    if os.geteuid() or subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        commands.add("why")
        return skip(f"{what}: why", "needs root and a mount namespace")
    events = ask("why", "why", "--json", prefix=prefix)
    check(f"{what}: why: what happened", {e["event"] for e in (events or {}).get("events", [])} >= {"placed", "refused"}, events)
    ask("why", "why", "--json", "web", prefix=prefix)
    return None


# --- this machine ---------------------------------------------------------------------------------------

def check_here():
    all_of("/", may_fail=True)
    ask("version", "version", "--json")
    ask("stat-programs", "stat", "--json", str(os.getpid()))
    ask("show", "show", "--json", str(os.getpid()))
    ask("doctor-program", "doctor", "--json", "--program", str(os.getpid()))
    ask("doctor", "doctor", "--json", "--interval", "100ms", may_fail=True)
    with subprocess.Popen([NUMASTOW, "stat", "--json", "--watch=100ms"], stdout=subprocess.PIPE, text=True) as child:
        text, found = "", []
        while len(found) < 2 and (line := child.stdout.readline()):
            text += line
            if line == "}\n":
                found.append(text)
                text = ""
        child.kill()
    for text in found:
        validate("stat", "stat --watch", text)
    check("stat --watch prints again", len(found) == 2, found)
    if os.path.exists("/proc/self/numa_maps"):
        ask("migrate", "migrate", "--json", str(os.getpid()), "all", "all")
        ask("migrate", "migrate", "--json", "--dry-run", str(os.getpid()), "all", "all")
    else:
        commands.add("migrate")
        skip("migrate", "this kernel has no NUMA")
    brief = ("--runs", "2", "--time", "2ms", "--size", "4Mi", "--force")
    ask("measure", "measure", "--json", *brief, "--output-all")
    ask("measure", "measure", "--json", *brief, "--latency", "-o", "from,to,latency")
    if os.geteuid():
        commands.add("bind")
        return skip("bind, drain --explain", "only root can read ledger and page flags")
    with subprocess.Popen(["sleep", "1000"]) as child:
        cpu = str(min(os.sched_getaffinity(0)))
        ask("bind", "bind", "--json", "--dry-run", "--cpus", cpu, str(child.pid))
        ask("bind", "bind", "--json", "--cpus", cpu, str(child.pid))
        child.kill()
    if os.path.exists("/sys/devices/system/memory/memory0/state") and os.access("/proc/kpageflags", os.R_OK):
        ask("drain-explain", "drain", "--explain", "0", "--json", may_fail=True)
    else:
        skip("drain --explain", "this machine does not show memory blocks")
    return None


def check_used():
    unused = {name for name, whats in used.items() if not whats}
    check("every schema is used", unused <= HERE_ONLY | MADE | KUBECTL, unused - HERE_ONLY - MADE - KUBECTL)
    for name, schema in ALL.items():
        if name in ("common", *MADE, *unused):
            continue
        missing = set(keys(name, schema)) - seen[name] - RARE.get(name, set())
        if name == "drain-explain":  # depends on what is in that block
            missing = {k for k in missing if "." not in k} - {"reason", "suspects"}
        same(f"{name}: every key was printed", sorted(missing), [])
    with_json = set()
    for line in run([NUMASTOW, "--help"], "").out.splitlines():
        name = re.match(r"  ([a-z]+) {2,}", line)
        if name and "--json" in run([NUMASTOW, name[1], "--help"], "").out:
            with_json.add(name[1])
    same("every command that prints JSON has a schema, or prints a message of agent and scheduler",
         sorted(with_json - commands), sorted(MESSAGES - commands))
    with open(os.path.join(PROJECT, "docs/json.md"), encoding="utf-8") as handle:
        listed = re.findall(r"schemas/([a-z-]+)\.json", handle.read())
    same("docs/json.md lists the schemas", sorted(set(listed)), sorted(ALL))


check_schemas()
check_made()
with Temp() as where:
    check_machines(where)
    check_dumps(where)
check_here()
check_refused()
check_used()
finish()
