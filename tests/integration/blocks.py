#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow blocks, online and offline on a machine that is not there: what is shown and written, and
what is refused in one line with nothing changed. That a kernel obeys is shown in tests/vm/blocks.sh."""
import json
import os
import re
import struct

from harness import BUILD, MIB, Machine, Temp, again, changed, check, finish, fingerprint, run, same

NUMASTOW = os.path.join(BUILD, "numastow")
MEMORY = "/sys/devices/system/memory"
ACPI = "/sys/devices/LNXSYSTM:00/PNP0C80:00"
PAGE = os.sysconf("SC_PAGESIZE")
PER_BLOCK = 128 * MIB // PAGE

# Documentation/admin-guide/mm/pagemap.rst
LRU, SLAB, BUDDY, ANON = 1 << 5, 1 << 7, 1 << 10, 1 << 12


def block(machine, number, state, zones, node=1, dimm=False):
    base = f"{MEMORY}/memory{number}"
    machine.write(f"{base}/state", state + "\n")
    machine.write(f"{base}/valid_zones", zones + "\n")
    machine.write(f"{base}/phys_device", "0\n")
    os.symlink(f"../../memory/memory{number}",
               machine.file(f"/sys/devices/system/node/node{node}/memory{number}"))
    if dimm:
        os.symlink("../../../LNXSYSTM:00/PNP0C80:00", machine.file(f"{base}/firmware_node"))


def memory(machine):
    """Blocks 0 and 1 from the beginning, and 4 to 8 of a DIMM."""
    machine.write(f"{MEMORY}/block_size_bytes", "8000000\n")
    machine.write(f"{ACPI}/uid", "0x03\n")
    block(machine, 0, "online", "DMA32", node=0)
    block(machine, 1, "online", "Normal", node=0)
    block(machine, 4, "online", "Movable", dimm=True)
    block(machine, 5, "online", "Movable", dimm=True)
    block(machine, 6, "online", "Normal", dimm=True)
    block(machine, 7, "online", "Normal", dimm=True)
    block(machine, 8, "offline", "Normal Movable", dimm=True)


def ask(machine, *words, user=None):
    argv = [NUMASTOW, words[0], "--sysroot", machine.path, *words[1:]]
    if user is not None:
        argv = ["setpriv", "--reuid", str(user), "--clear-groups", *argv]
    return run(argv, "")


def state(machine, number):
    return machine.read(f"{MEMORY}/memory{number}/state")


def refused(machine, what, words, *argv, code=1, user=None):
    """One line (and where to read on, when it is a matter of usage); nothing has changed."""
    before = fingerprint(machine)
    said = ask(machine, *argv, user=user)
    lines = said.err.splitlines()
    wrong = changed(before, fingerprint(machine))
    check(f"{what}: refused in one line, nothing changed",
          said.code == code and not said.out and not wrong and
          len(lines) == (2 if code == 2 else 1) and
          all(w in lines[0] for w in (words, "numastow")), f"{said}, changed {wrong}")


def without_contents(machine):
    said = ask(machine, "blocks", "--json")
    answer = json.loads(said.out)
    same("the DIMM", answer["devices"],
         [{"name": "dimm3", "alias": "PNP0C80:00", "kind": "dimm", "path": None,
           "range": "0x0000000020000000-0x0000000047ffffff", "size": 640 * MIB, "n_blocks": 5}])
    same("what each can do",
         [(b["block"], b["node"], b["device"], b["removable"], b["reason"]) for b in answer["blocks"]],
         [(0, 0, None, False, "boot memory"), (1, 0, None, False, "boot memory"),
          (4, 1, "dimm3", True, None), (5, 1, "dimm3", True, None), (6, 1, "dimm3", None, None),
          (7, 1, "dimm3", None, None), (8, 1, "dimm3", True, None)])
    check("what is not known, and why", "/proc/kpageflags" in answer["not_known"], answer)
    same("how much is online", (answer["online"], answer["offline"]), (768 * MIB, 128 * MIB))
    lines = ask(machine, "blocks").out.splitlines()
    same("neighbours that are alike share a line",
         [line.split()[3] for line in lines[1:lines.index("")]], ["0", "1", "4-5", "6-7", "8"])
    check("what came online in the kernel's zones is told what to do",
          "256Mi of added memory is online in a kernel zone" in lines[-3] and
          "online_movable" in lines[-3], lines)
    check("the last line says what is not known", "/proc/kpageflags" in lines[-1], lines)
    lines = ask(machine, "blocks", "--all", "--node", "1").out.splitlines()
    same("one by one, of a node", [line.split()[3] for line in lines[1:lines.index("")]],
         ["4", "5", "6", "7", "8"])


def with_contents(machine):
    """Block 4 has a container's pages, 6 some slab, 7 what has no mark; all the rest is free."""
    flags = [BUDDY] * (8 * PER_BLOCK)
    owners = [0] * (8 * PER_BLOCK)
    name = "libpod-" + 4 * "0123456789abcdef" + ".scope"
    machine.container(name)
    cgroup = machine.file(f"/sys/fs/cgroup/machine.slice/{name}")
    for i in range(256):
        flags[4 * PER_BLOCK + i] = LRU | ANON
        owners[4 * PER_BLOCK + i] = os.stat(cgroup).st_ino
    flags[6 * PER_BLOCK] = SLAB
    flags[7 * PER_BLOCK] = 0
    for kind, words in (("kpageflags", flags), ("kpagecgroup", owners)):
        with open(machine.file(f"/proc/{kind}"), "wb") as handle:
            handle.write(struct.pack(f"{len(words)}Q", *words))
    answer = json.loads(ask(machine, "blocks", "--owners", "--json").out)
    by_id = {b["block"]: b for b in answer["blocks"]}
    same("nothing is unknown now", answer["not_known"], None)
    same("the kernel's pages stay", [(by_id[n]["removable"], by_id[n]["reason"]) for n in (4, 6)],
         [(True, None), (False, "slab")])
    same("pages without a mark may", by_id[7]["removable"], None)
    use = by_id[4]["use"]
    same("what is in it", (use["bytes"]["anonymous"], use["bytes"]["free"]),
         (256 * PAGE, 128 * MIB - 256 * PAGE))
    same("and whose", [(o["cgroup"], o["container"], o["bytes"]["anonymous"]) for o in use["owners"]],
         [(f"/machine.slice/{name}", 4 * "0123456789abcdef", 256 * PAGE)])
    check("an offline block has no use", "use" not in by_id[8], by_id[8])
    text = ask(machine, "blocks", "--owners").out
    check("the same in words", "free 255Mi, anonymous 1Mi\n" in text and
          "container 0123456789ab: anonymous 1Mi\n" in text, text)


def acting(machine):
    said = ask(machine, "offline", "4-5,8")
    same("offline", (said.code, said.out),
         (0, "4: done\n5: done\n8: already\n2 done, 1 already, 0 failed\n"))
    same("is what the files say", [state(machine, n) for n in (4, 5, 6)],
         ["offline", "offline", "online"])
    said = ask(machine, "offline", "4,5")
    same("a second time it is already so", (said.code, said.out.splitlines()[-1]),
         (0, "0 done, 2 already, 0 failed"))
    said = ask(machine, "online", "--zone", "movable", "6,8")
    same("some of it", (said.code, said.out),
         (64, "6: failed: it is online in zone Normal; take it offline first\n8: done\n"
              "1 done, 0 already, 1 failed\n"))
    same("is written as asked", state(machine, 8), "online_movable")
    ask(machine, "online", "--zone", "kernel", "4")
    ask(machine, "online", "5")
    same("and so are the others", [state(machine, n) for n in (4, 5)], ["online_kernel", "online"])
    said = ask(machine, "online", "--zone", "kernel", "6,6-7")
    same("online in that zone is already so", (said.code, said.out.splitlines()[-1]),
         (0, "0 done, 2 already, 0 failed"))


def sizes(machine):
    """4, 5 (Movable), 6, 7 (Normal) are online, 8 is offline."""
    before = fingerprint(machine)
    said = ask(machine, "offline", "--dry-run", "384M")
    same("a dry run: the highest first, those that are sure to go before others", (said.code, said.out),
         (0, "5: would go offline\n4: would go offline\n7: would go offline\n"
             "3 blocks, 384Mi, and 0 already; nothing was changed\n"))
    said = ask(machine, "online", "--dry-run", "--json", "128Mi")
    answer = json.loads(said.out)
    same("as JSON", (said.code, answer["state"], answer["dry_run"], answer["requested"], answer["n_planned"], answer["blocks"]),
         (0, "online", True, 128 * MIB, 1,
          [{"block": 8, "range": "0x0000000040000000-0x0000000047ffffff", "size": 128 * MIB, "node": 1, "result": "planned",
            "reason": None, "culprits": None}]))
    same("a dry run changes nothing", changed(before, fingerprint(machine)), [])
    said = ask(machine, "offline", "--quiet", "0x20000000-0x2fffffff")
    same("addresses", (said.code, said.out, [state(machine, n) for n in (4, 5, 6)]), (0, "", ["offline", "offline", "online"]))
    said = ask(machine, "online", "--node", "1", "--zone", "movable", "0.25Gi")
    same("a size: the lowest first", (said.code, said.out), (0, "4: done\n5: done\n2 done, 0 already, 0 failed\n"))
    same("in the zone", [state(machine, n) for n in (4, 5, 8)], ["online_movable", "online_movable", "offline"])
    for n in (4, 5):
        machine.write(f"{MEMORY}/memory{n}/state", "online\n")
    said = ask(machine, "online", "--json", "7-8")
    answer = json.loads(said.out)
    same("a list as JSON", (said.code, answer["n_done"], answer["n_already"], [b["result"] for b in answer["blocks"]]),
         (0, 1, 1, ["already", "done"]))
    machine.write(f"{MEMORY}/memory8/state", "offline\n")
    said = ask(machine, "online", "--json", "--zone", "movable", "6,8")
    answer = json.loads(said.out)
    same("a part as JSON", (said.code, [(b["block"], b["result"], b["reason"]) for b in answer["blocks"]]),
         (64, [(6, "failed", "it is online in zone Normal; take it offline first"), (8, "done", None)]))
    machine.write(f"{MEMORY}/memory8/state", "offline\n")


def mistakes(machine):
    for command in ("online", "offline"):
        refused(machine, f"{command} of an unknown block", "there is no memory block 9", command, "4,9")
        refused(machine, f"{command} of a hole", "there is no memory block 2", command, "1-4")
        refused(machine, f"{command} of no list", "is not a list", command, "dimm3", code=2)
        refused(machine, f"{command} backwards", "is not a list", command, "7-4", code=2)
        refused(machine, f"{command} of nothing", "an argument is empty", command, "", code=2)
        refused(machine, f"{command} of too much", "more than", command, "0-99999999999", code=2)
        refused(machine, f"{command} of what is over 64 bits", "2^64", command, "99999999999999999999", code=2)
        refused(machine, f"{command} without a list", "which memory is missing", command, code=2)
        refused(machine, f"{command} of two lists", '"5": unexpected argument', command, "4", "5", code=2)
        refused(machine, f"{command} of a hole names what is there", "this machine has 0-1,4-8", command, "2")
        for what, words, *argv in (
                ("a size that is none", "a size such as 4G", "4X"),
                ("half a block", "memory blocks have 128Mi here", "64M"),
                ("no memory", "at least one memory block", "0G"),
                ("half a range", "is not a range", "0x20000000"),
                ("a range backwards", "is not a range", "0x27ffffff-0x20000000"),
                ("a range of no whole blocks", "0x20000000-0x27ffffff is", "0x20000000-0x20000fff"),
                ("nodes and a list", '"4" is none', "--node", "1", "4"),
                ("no nodes", "list of NUMA nodes", "--node", "", "1G")):
            refused(machine, f"{command} of {what}", words, command, *argv, code=2)
        refused(machine, f"{command} of a range beyond", "there is no memory block 9", command, "0x20000000-0x4fffffff")
        refused(machine, f"{command} of a range far beyond", "there is no memory block", command,
                "0x20000000-0x7fffffffffffffff")
        # 8 is offline; 4, 5 and 8 are sure to be able to go, 6 and 7 may.
        refused(machine, f"{command} of more than there is", '"4G": 128Mi of memory is offline' if command == "online"
                else '"4G": 512Mi of memory is online and may', command, "4G", code=3)
        refused(machine, f"{command} of more than a node has", "no memory of NUMA node 0 is", command, "--node", "0", "128Mi",
                code=3)
        refused(machine, f"{command} by nobody", "only the machine's root", command,
                "8" if command == "online" else "4", user=65534)
    refused(machine, "an unknown zone", "neither movable nor kernel", "online", "--zone", "dma", "8",
            code=2)
    refused(machine, "a time without a unit", "is not a time", "offline", "--timeout", "5", "4", code=2)
    refused(machine, "blocks with an argument", "takes no argument", "blocks", "4", code=2)
    refused(machine, "blocks of no node", "is not a list", "blocks", "--node", "one", code=2)
    refused(machine, "an unknown column", "expected columns of RANGE,SIZE,", "blocks", "-o", "RANGE,what", code=2)
    refused(machine, "blocks of an unknown node", "NUMA node 7 has no memory blocks", "blocks",
            "--node", "7")


def table_options(machine):
    """Those of util-linux; with them nothing but the rows is printed."""
    same("columns", [line.split() for line in ask(machine, "blocks", "-no", "block,size", "--node", "1").out.splitlines()],
         [["4-5", "256Mi"], ["6-7", "256Mi"], ["8", "128Mi"]])
    same("raw", ask(machine, "blocks", "-rb", "-o", "BLOCK,SIZE,REMOVABLE", "-N", "0").out,
         "BLOCK SIZE REMOVABLE\n0 134217728 no:\\x20boot\\x20memory\n1 134217728 no:\\x20boot\\x20memory\n")
    same("pairs", ask(machine, "blocks", "--pairs", "-o", "block,device", "-N", "0-1", "-n").out.splitlines(),
         ['BLOCK="0" DEVICE=""', 'BLOCK="1" DEVICE=""', 'BLOCK="4-5" DEVICE="dimm3"', 'BLOCK="6-7" DEVICE="dimm3"',
          'BLOCK="8" DEVICE="dimm3"'])
    check("all columns", ask(machine, "blocks", "--output-all").out.split()[:8] ==
          ["RANGE", "SIZE", "STATE", "BLOCK", "NODE", "ZONE", "DEVICE", "REMOVABLE"])
    same("JSON is whole", json.loads(ask(machine, "blocks", "--json", "-o", "BLOCK").out),
         json.loads(ask(machine, "blocks", "--json").out))


def no_hotplug(machine):
    for words in (("blocks",), ("online", "4"), ("offline", "4")):
        refused(machine, f"{words[0]} where the kernel has no memory hotplug", "no memory blocks",
                *words)
    said = run([NUMASTOW, "blocks", "--sysroot", machine.path + "/none"], "")
    check("a tree that is not there", said.one_line(), said)


# --- trees that no kernel makes ----------------------------------------------

WILD = re.compile(r"[\0-\x09\x0b-\x1f\x7f-\uffff]")  # what is harmless on no terminal

def odd_files(machine):
    """Each kind of file missing, empty, garbage: an answer or one line, and never a number that is not in a file."""
    machine.write(f"{ACPI}/path", "\\_SB_.MHPC.MP00\n")
    kinds = {}
    for folder, _, names in os.walk(machine.file("/sys/devices/system/memory")):
        for name in names:
            here = os.path.join(folder, name)
            kinds.setdefault(re.sub(r"\d+", "N", here), here)
    files = [*kinds.values(), *(machine.file(f) for f in (
        f"{ACPI}/uid", f"{ACPI}/path", "/sys/devices/system/node/node1/meminfo", "/proc/zoneinfo", "/proc/meminfo", "/proc/kpageflags",
        "/proc/kpagecgroup"))]
    wrong = []
    for here in files:
        with open(here, "rb") as handle:
            before = handle.read()
        for data in (None, b"", b"\n", b"\xff\x00rubbish\n", b"\x1b[31mred\n", b"\xc2\x9b31m\n", b"-1\n", b"99999999999999999999\n", b"x" * 70000):
            os.unlink(here)
            if data is not None:
                with open(here, "wb") as handle:
                    handle.write(data)
            for words in (("blocks",), ("blocks", "--owners", "--json"), ("offline", "--dry-run", "128Mi")):
                said = ask(machine, *words)
                lines = said.err.splitlines()
                good = said.code in (0, 1, 3) and len(lines) == (said.code != 0) and not WILD.search(said.out + said.err)
                if good and said.code == 0 and "--json" in words:
                    answer = json.loads(said.out)
                    good = [b["block"] for b in answer["blocks"]] == [0, 1, 4, 5, 6, 7, 8]
                if not good:
                    wrong.append((here[len(machine.path):], data and data[:12], words, said.code, said.err[:300]))
            if data is None:
                os.close(os.open(here, os.O_CREAT | os.O_WRONLY))
        with open(here, "wb") as handle:
            handle.write(before)
    check("several kinds of files", len(files) > 8, files)
    same("missing, empty or garbage: an answer, or one line", wrong, [])
    machine.write(f"{MEMORY}/memory5/state", "rubbish\n")
    machine.write(f"{MEMORY}/memory5/valid_zones", "")
    answer = json.loads(ask(machine, "blocks", "--json").out)
    same("a state that makes no sense is unknown", [(b["state"], b["zones"], b["removable"]) for b in answer["blocks"]
                                                    if b["block"] == 5], [(None, None, None)])
    same("nor is it online", (answer["online"], answer["offline"]), (640 * MIB, 256 * MIB))


def many_nodes(temp):
    """1,024 nodes with eight blocks each, and holes between them."""
    machine = Machine(f"{temp}/many", fresh=False)
    node = "/sys/devices/system/node"
    states, wanted = ("online", "online", "offline", "online"), []
    machine.write(f"{MEMORY}/block_size_bytes", "8000000\n")
    machine.write(f"{node}/online", "0-1023\n")
    machine.write("/sys/devices/system/cpu/online", "0-4095\n")
    for n in range(1024):
        machine.write(f"{node}/node{n}/cpulist", f"{4 * n}-{4 * n + 3}\n")
        for i in range(8):
            number = 9 * n + i
            state, zone = states[i % 4], "Movable" if i > 3 else "Normal"
            machine.write(f"{MEMORY}/memory{number}/state", state + "\n")
            machine.write(f"{MEMORY}/memory{number}/valid_zones", zone + "\n")
            os.symlink(f"../../memory/memory{number}", machine.file(f"{node}/node{n}/memory{number}"))
            wanted.append((number, n, state, zone))
    answer = json.loads(ask(machine, "blocks", "--json").out)
    same("8,192 blocks on 1,024 nodes", [(b["block"], b["node"], b["state"], b["zones"]) for b in answer["blocks"]], wanted)
    same("their sums", (answer["online"], answer["offline"]), (6144 * 128 * MIB, 2048 * 128 * MIB))
    rows = ask(machine, "blocks", "-nr", "-o", "BLOCK,NODE,STATE").out.splitlines()
    same("as text: neighbours that are alike in a line", rows[:6] + [len(rows)],
         ["0-1 0 online", "2 0 offline", "3 0 online", "4-5 0 online", "6 0 offline", "7 0 online", 6 * 1024])
    same("of one node", [b["block"] for b in json.loads(ask(machine, "blocks", "--json", "-N", "1023").out)["blocks"]],
         list(range(9207, 9215)))


with Temp() as path:
    os.chmod(path, 0o755)
    machine = Machine(path)
    no_hotplug(machine)
    memory(machine)
    mistakes(machine)
    sizes(machine)
    without_contents(machine)
    table_options(machine)
    again("blocks", [NUMASTOW, "blocks", "--sysroot", machine.path, "--raw", "--noheadings", "--output", "BLOCK,STATE"],
          lambda: machine.write(f"{MEMORY}/memory0/state", "offline\n"), "0 offline\n")
    machine.write(f"{MEMORY}/memory0/state", "online\n")
    with_contents(machine)
    odd_files(machine)
    machine.write(f"{MEMORY}/memory5/state", "online\n")
    machine.write(f"{MEMORY}/memory5/valid_zones", "Movable\n")
    acting(machine)
    many_nodes(path)
finish()
