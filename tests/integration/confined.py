#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the hook has given up before it reads its input, and what it does where it is not root.

The program itself, on this machine: nothing is changed here, because it gets no input that says to.
"""
import json
import os
import shutil
import signal
import subprocess
import time

from harness import HOOK, Temp, check, finish, run, same, skip

NOBODY = 65534
KEPT = {"CAP_DAC_OVERRIDE": 1, "CAP_SYS_NICE": 23}
HIDDEN_PROC = {"CAP_SYS_PTRACE": 19}
DORMANT = {"CAP_SYS_ADMIN": 21}
COMMANDS = ("apply", "release", "precreate")


def bits(*groups):
    return sum(1 << number for group in groups for number in group.values())


def status(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return dict(line.rstrip("\n").split(":\t", 1) for line in handle if ":\t" in line)


def descriptors(pid):
    return {int(n): os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}


def waiting(argv, **how):
    """The program, once it sleeps, waiting for its input."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, **how)
    end = time.monotonic() + 60
    while not status(process.pid)["State"].startswith("S") or \
            os.readlink(f"/proc/{process.pid}/exe") != os.path.realpath(HOOK):
        if time.monotonic() > end or process.poll() is not None:
            break
        time.sleep(0.01)
    return process


def ended(process):
    process.stdin.close()
    process.wait(60)


def given_up(command):
    inherited = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        high = os.dup2(inherited, 900, inheritable=True)
        process = waiting([HOOK, command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          pass_fds=(inherited, high))
        now, files = status(process.pid), descriptors(process.pid)
        ended(process)
        os.close(high)
    finally:
        os.close(inherited)
    same(f"{command}: nothing that was inherited is open when it waits for its input",
         {n: f for n, f in files.items() if n > 2 and f != "/"}, {})
    same(f"{command}: no_new_privs", now["NoNewPrivs"], "1")
    if os.geteuid() != 0:
        skip(f"{command}: capabilities", "needs root")
        return
    had = int(status("self")["CapPrm"], 16)
    effective, permitted = int(now["CapEff"], 16), int(now["CapPrm"], 16)
    same(f"{command}: capabilities in effect", effective & ~bits(HIDDEN_PROC), bits(KEPT) & had)
    # Partitions need it as well, for apply: tests/vm/partitions.sh.
    wanted = command == "apply" and os.path.exists("/sys/fs/cgroup/cpuset.cpus.isolated") and \
        os.path.exists("/etc/numastow/config.yaml")
    needed = os.path.isdir("/run/systemd/system") or (wanted and permitted & bits(DORMANT))
    same(f"{command}: permitted", permitted & ~effective, bits(DORMANT) & had if needed else 0)
    same(f"{command}: none for programs that it starts beyond these",
         (int(now["CapInh"], 16), int(now["CapAmb"], 16)), (0, 0))


def closed_at_start():
    process = waiting(["/bin/sh", "-c", 'exec "$0" release >&- 2>&-', HOOK])
    files = descriptors(process.pid)
    ended(process)
    same("an output that is closed at the start does not become a file of ours",
         (files.get(1), files.get(2)), ("/dev/null", "/dev/null"))


def limits(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as handle:
        return {line[:26].strip(): line[26:47].strip() for line in handle}


def lifted():
    """A shell, or a systemd unit with LimitFSIZE=, has limits for its own programs."""
    tiny = ["prlimit", "--fsize=4096:", "--stack=262144:", "--as=1000000000:", "--data=500000000:", "--cpu=5:", "--nofile=32:"]
    process = waiting([*tiny, "env", "--ignore-signal=CHLD", HOOK, "apply"], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL)
    now, ignored = limits(process.pid), int(status(process.pid)["SigIgn"], 16)
    ended(process)
    wanted = {"Max file size": "unlimited", "Max cpu time": "unlimited", "Max address space": "unlimited",
              "Max data size": "unlimited", "Max stack size": str(8 << 20), "Max open files": "1024"}
    same("limits of the shell that started the runtime are lifted", {name: now[name] for name in wanted}, wanted)
    same("it is not killed for a file that may not grow, and learns how its child processes end",
         [bool(ignored >> (number - 1) & 1) for number in (signal.SIGXFSZ, signal.SIGCHLD)], [True, False])


def ours(**asked):
    return {"numastow.io/" + k.replace("_", "-"): v for k, v in asked.items()}


def state(annotations):
    return json.dumps({"ociVersion": "1.0.2", "id": "t", "pid": os.getpid(), "status": "created",
                       "bundle": "/nonexistent", "annotations": annotations})


def config(annotations):
    return json.dumps({"ociVersion": "1.0.2", "annotations": annotations,
                       "linux": {"cgroupsPath": "user.slice:libpod:t"}})


def silent(result):
    return result.code == 0 and not result.err


def rootless(who, argv):
    def hook(command, text):
        return run(argv + [command], text)

    for what, annotations in (("without annotations", {}),
                              ("with other annotations", {"io.kubernetes.cri.sandbox-name": "a b"}),
                              ("with 20 MiB of annotations", {"author": "x" * (20 << 20)})):
        result = hook("apply", state(annotations))
        check(f"{who}: a container {what} starts", silent(result), result)
        result = hook("release", state(annotations))
        check(f"{who}: and ends", silent(result), result)
        text = config(annotations)
        result = hook("precreate", text)
        check(f"{who}: its configuration comes back", silent(result) and result.out == text, result)
    result = hook("apply", state(ours(cpus="2")))
    check(f"{who}: an annotated container is refused in one line that says why",
          result.one_line() and "without root" in result.err, result)
    result = hook("apply", state({"author": "x" * (2 << 20), **ours(cpus="2")}))
    check(f"{who}: as is one with 2 MiB of annotations", result.one_line() and "without root" in result.err, result)
    for text in (config(ours(cpus="2")), json.dumps({"annotations": ours(cpus="2")})):
        result = hook("precreate", text)
        check(f"{who}: which apply reports, not precreate", silent(result) and result.out == text, result)
    result = hook("release", state(ours(cpus="2")))
    check(f"{who}: its end is no error", silent(result), result)
    result = hook("apply", state(ours(cpus="2", on_failure="ignore")))
    check(f"{who}: one that starts in any case is told, too",
          result.code == 0 and "without root" in result.err and result.err.count("\n") == 1, result)
    result = hook("apply", state({"numastow.io/cpus": 2}))
    check(f"{who}: a mistake in an annotation is one", result.one_line(), result)


def main():
    for command in COMMANDS:
        given_up(command)
    closed_at_start()
    lifted()
    with Temp() as temp:
        os.chmod(temp, 0o755)
        mine = shutil.copy(HOOK, temp)
        if os.geteuid() != 0:
            rootless("a user", [mine])
        else:
            setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            rootless("a user", setpriv + [mine])
        unshare = ["unshare", "--user", "--map-root-user"]
        if subprocess.run(unshare + ["true"], check=False, stderr=subprocess.DEVNULL).returncode:
            skip("root of a user namespace", "none can be made here")
        else:
            rootless("root of a user namespace", unshare + [mine])
    finish()


if __name__ == "__main__":
    main()
