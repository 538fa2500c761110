#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow version: each program's version and libraries, as pkg-config has them; programs that are missing, do not start,
or are of another version; cgroups as /proc/self/mountinfo has them."""
import json
import os
import shutil
import subprocess

from harness import BUILD, PROJECT, Temp, check, finish, run, same, skip

# Linked in from the package that pkg-config describes.
PACKAGES = {"json-c": "json-c", "libyaml": "yaml-0.1", "protobuf-c": "libprotobuf-c", "SQLite": "sqlite3",
            "libsmartcols": "smartcols", "OpenSSL": "openssl", "gRPC core": "grpc"}
PROGRAMS = ("numastow-hook", "numastow-scope", "numastow-run", "numastow-view", "numastow-top", "numastow-fleet",
            "numastow-agent", "numastow-scheduler", "kubectl-numastow")


def script(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def ask(numastow):
    done = run([numastow, "version", "--json"], "")
    check("version --json", done.code == 0 and not done.err, done)
    return json.loads(done.out)


def check_cgroups(cgroups):
    with open("/proc/self/mountinfo", encoding="utf-8") as handle:
        mounts = [line.split(" - ")[1].split() for line in handle]
    v1 = {option for kind, _, options in (m[:3] for m in mounts) if kind == "cgroup" for option in options.split(",")}
    v2 = any(m[0] == "cgroup2" for m in mounts)
    for name in ("cpuset", "hugetlb", "memory"):
        same(f"{name}: version of its hierarchy", cgroups[name], 1 if name in v1 else 2 if v2 else None)
    systemd = cgroups["cpuset"] == 2 and os.path.exists("/run/systemd/system")
    same("what makes cgroups", cgroups["made_by"], None if not cgroups["cpuset"] else "systemd" if systemd else "libcgroup")


def check_built(version):
    numastow = os.path.join(BUILD, "numastow")
    got = ask(numastow)
    same("the version at the top", got["version"], version)
    same("each program is there, of this version", [(p["name"], p["version"], p["fault"]) for p in got["programs"]],
         [(name, version, None) for name in PROGRAMS])
    libraries = {p["name"]: {l["name"] for l in p["libraries"]} for p in got["programs"]}
    for name, wanted in (("numastow-view", {"libsmartcols"}), ("numastow-top", {"ncurses"}), ("numastow-scope", {"libsystemd"}),
                         ("numastow-fleet", {"gRPC core", "OpenSSL"}), ("numastow-hook", set())):
        same(f"{name}: its libraries", libraries[name], wanted)
    check("numastow-run: libcgroup", "libcgroup" in libraries["numastow-run"])
    for library in [*got["libraries"], *(l for p in got["programs"] for l in p["libraries"])]:
        package = PACKAGES.get(library["name"])
        if not package or not shutil.which("pkg-config") or run(["pkg-config", "--exists", package], "").code:
            continue
        same(f"{library['name']}: its version", library["version"], run(["pkg-config", "--modversion", package], "").out.strip())
    check_cgroups(got["cgroups"])

    lines = run([numastow, "version"], "").out.splitlines()
    for option in ("--version", "-V"):
        same(f"{option} is the first line", run([numastow, option], "").out.splitlines(), lines[:1])
    same("the text begins with name and version", lines[0], f"numastow {version}")
    for name in PROGRAMS:
        check(f"{name} is a row", any(line.split()[:2] == [name, version] for line in lines), lines)
    for name in ("numastow-hook", "numastow-agent", "numastow-scheduler"):
        program = os.path.join(BUILD, name)
        done = run([program, "-V"], "")
        same(f"{name} -V", (done.code, done.out), (0, run([program, "--version"], "").out))
        done = run([program, "-h"], "")
        same(f"{name} -h", (done.code, done.out), (0, run([program, "--help"], "").out))
        check(f"{name} --help names both", "-h, --help" in done.out and "-V, --version" in done.out, done)


def check_damaged(version):
    with Temp() as temp:
        for name in ("numastow", "numastow-hook", "numastow-run"):
            shutil.copy(os.path.join(BUILD, name), temp)
        # As the dynamic linker does, without a library.
        script(f"{temp}/numastow-top", "echo 'error while loading shared libraries: libx.so.1: cannot open' >&2; exit 127\n")
        script(f"{temp}/numastow-view", "echo numastow-view 0.0.1; echo libx; echo two words 3\n")
        script(f"{temp}/numastow-fleet", "exit 3\n")
        script(f"{temp}/numastow-agent", "printf '\\033[31mred\\n' >&2; kill $$\n")
        programs = {p["name"]: p for p in ask(f"{temp}/numastow")["programs"]}
        same("the others are there", [programs[n]["version"] for n in ("numastow-hook", "numastow-run")], [version] * 2)
        same("paths are those of this folder", programs["numastow-hook"]["path"], os.path.realpath(f"{temp}/numastow-hook"))
        same("a missing library is named", [programs["numastow-top"][k] for k in ("version", "fault")],
             [None, "error while loading shared libraries: libx.so.1: cannot open"])
        same("another version is shown", programs["numastow-view"]["version"], "0.0.1")
        same("libraries without a version, and of two words", programs["numastow-view"]["libraries"],
             [{"name": "libx", "version": None}, {"name": "two words", "version": "3"}])
        same("one that says nothing", programs["numastow-fleet"]["fault"], "it did not answer")
        check("no control characters come through", "\x1b" not in programs["numastow-agent"]["fault"], programs["numastow-agent"])
        done = run([f"{temp}/numastow", "version"], "")
        check("the text has the fault, too", done.code == 0 and "libx.so.1" in done.out.replace("\n", " "), done)
        if os.path.exists("/usr/local/sbin/numastow-scheduler"):
            return skip("what is missing", "numastow is installed on this machine")
        same("what is missing", [programs["numastow-scheduler"][k] for k in ("path", "version", "fault")], [None] * 3)
        check("and in the text", "not installed" in done.out, done)
    return None


def check_rest():
    numastow = os.path.join(BUILD, "numastow")
    done = run([numastow, "version", "x"], "")
    check("a word is wrong usage", done.code == 2 and done.err, done)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([numastow, "version"], stdout=full, stderr=subprocess.PIPE, check=False)
    check("a full disk is a failure", done.returncode == 1 and done.stderr, done)


def main():
    with open(os.path.join(PROJECT, "VERSION"), encoding="utf-8") as handle:
        version = handle.read().strip()
    check_built(version)
    check_damaged(version)
    check_rest()
    finish()


if __name__ == "__main__":
    main()
