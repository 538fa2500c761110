#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow measure on this machine: every form of its output, and what it refuses."""
import json
import os
import re

from harness import BUILD, check, finish, run, same, skip

NUMASTOW = os.path.join(BUILD, "numastow")
BRIEF = ("--runs", "2", "--time", "2ms", "--size", "4Mi", "--force")
COLUMNS = ["FROM", "TO", "DISTANCE", "HMAT-LATENCY", "HMAT-READ", "LATENCY", "LATENCY-4K", "READ", "READ-WRITE", "NOTE"]
MORE = ["MEDIAN", "MEDIAN-4K", "READ-MEDIAN", "READ-WRITE-MEDIAN"]


def measure(*words):
    return run([NUMASTOW, "measure", *words], "")


def measured():
    """The document; None where a container may not call mbind(2)."""
    done = measure(*BRIEF, "--json")
    if not check("measure --json", done.code == 0, done):
        return None
    return json.loads(done.out)


def hmat(pair):
    """What the kernel shows of a pair, if the first node is one of the nearest of the second; only root reads the others."""
    for kind in ("access1", "access0"):
        folder = f"/sys/devices/system/node/node{pair['to']}/{kind}/initiators"
        if os.path.exists(f"{folder}/node{pair['from']}"):
            values = []
            for name in ("read_latency", "read_bandwidth"):
                with open(f"{folder}/{name}", encoding="utf-8") as handle:
                    values.append(int(handle.read()) or None)
            return tuple(values)
    if os.path.exists("/sys/firmware/acpi/tables/HMAT"):
        return pair["hmat_latency_ns"], pair["hmat_read_mbps"]
    return None, None


def check_json(document):
    same("the document's keys", sorted(document), ["measured", "pairs", "version"])
    about = document["measured"]
    same("what it was measured on", sorted(about), ["buffer", "firmware", "governor", "load", "machine",
                                                    "steal_ticks", "time", "turbo", "virtualization"])
    check("the time is RFC 3339's", re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", about["time"]), about)
    same("the buffer, in bytes", about["buffer"], 4 << 20)
    check("virtualization has three words", about["virtualization"] in ("none", "hypervisor", "emulation"), about)
    with open("/sys/devices/system/node/has_memory", encoding="utf-8") as handle:
        first = int(re.match(r"\d+", handle.read()).group())
    check("the first node's own memory is among the pairs",
          any(p["from"] == p["to"] == first for p in document["pairs"]), document)
    for pair in document["pairs"]:
        with open(f"/sys/devices/system/node/node{pair['from']}/distance", encoding="utf-8") as handle:
            check("the distance is the kernel's", str(pair["distance"]) in handle.read().split(), pair)
        same("a pair's keys", sorted(pair), sorted(
            ["from", "to", "distance", "hmat_latency_ns", "hmat_read_mbps", "latency_ns", "latency_4k_ns", "read_mbps", "read_write_mbps", "note"]))
        same("HMAT's values are the kernel's", (pair["hmat_latency_ns"], pair["hmat_read_mbps"]), hmat(pair))
        check("4 KiB pages: measured, or the note has the reason",
              (pair["latency_4k_ns"] or 0) > 0 or "4 KiB" in pair["note"], pair)
        check("2 MiB pages: measured, or the note has the reason",
              (pair["latency_ns"] or 0) > 0 or "2 MiB" in pair["note"], pair)
        check("bandwidth is measured in any case", pair["read_mbps"] > 0 and pair["read_write_mbps"] > 0, pair)


def check_columns():
    def heading(*words):
        return measure(*BRIEF, *words).out.splitlines()[0].split()
    # Where the firmware has no HMAT, only a table for people is without its columns.
    known = os.path.exists("/sys/devices/system/node/node0/access0/initiators/read_latency") or \
        (os.path.exists("/sys/firmware/acpi/tables/HMAT") and os.geteuid() == 0)
    usual = [c for c in COLUMNS if known or not c.startswith("HMAT-")]
    same("the columns", heading(), usual)
    same("for a program they are always the same", heading("--raw"), COLUMNS)
    same("they can be asked for", heading("-o", "hmat-latency,hmat-read"), ["HMAT-LATENCY", "HMAT-READ"])
    same("all columns", heading("--output-all"), COLUMNS + MORE)
    same("those that were asked for", heading("-o", "to,FROM"), ["TO", "FROM"])
    same("and more", heading("-o", "+median"), usual + ["MEDIAN"])
    done = measure(*BRIEF, "-l", "-o", "read,read-write,latency-4k", "--pairs")
    check("latency only: the other figures are unknown", re.match(
        r'READ="" READ.WRITE="" LATENCY.4K="[\d.]+"\n', done.out), done)
    done = measure(*BRIEF, "-B", "-n", "-r", "-o", "latency,read")
    check("bandwidth only, raw, without headings", re.match(r"- [\d.]+\n", done.out), done)
    same("quiet", measure(*BRIEF, "--quiet").out, "")


def check_refusals():
    for words, said in ((("-o", "nose"), '--output "nose": expected columns of FROM,TO,'),
                        (("--runs", "0"), "expected 1 to 100"), (("--runs", "101"), "--runs"),
                        (("--time", "1us"), "--time"), (("--time", "2m"), "expected 1ms to 1m"),
                        (("--size", "1k"), "--size"), (("--size", "17Gi"), "expected 1Mi to 16Gi"),
                        (("--node", "x"), "--node"), (("--from", ""), "--from"),
                        (("-l", "-B"), "--latency and --bandwidth"), (("--save", "-o", "to"), "--save keeps all figures"), (("now",), '"now"')):
        done = measure(*words)
        check(f"measure {' '.join(words)}: refused in one line", done.code == 2 and said in done.err
              and len(done.err.splitlines()) == 2 and not done.out, done)
    done = measure(*BRIEF, "--node", "1023")
    check("a node that is not there", done.code == 1 and "--node" in done.err, done)
    with open("/proc/meminfo", encoding="utf-8") as handle:
        total = int(handle.readline().split()[1]) * 1024
    if total > 15 << 30:
        skip("a buffer that does not fit", "this machine has more memory than the largest buffer")
        return
    done = measure("--size", "16Gi", "--json")
    check("a buffer that does not fit: in part, with the reason", done.code == 64 and all(
        "--size" in p["note"] and p["latency_ns"] is None for p in json.loads(done.out)["pairs"]), done)


found = measured()
if found:
    check_json(found)
    check_columns()
check_refusals()
finish()
