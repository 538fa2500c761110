#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow run: options, exit codes, the same process, signals; without root affinity and policy; with root and
cpusets that libcgroup can use (cgroup v1, or v2 without systemd) a grant as well, which gc takes back.

It runs on this machine, with a /run/numastow of its own. tests/vm/programs.sh has NUMA nodes and systemd.
"""
import os
import shutil
import signal
import subprocess
import sys

from harness import BUILD, Temp, check, finish, parse_list, run, same, skip

PRIVATE = "NUMASTOW_TEST_PRIVATE"
NOBODY = 65534
SHOW = "cat /proc/self/cgroup; grep allowed_list /proc/self/status; head -n 1 /proc/self/numa_maps"


def in_private_mounts():
    """Start this test again in a mount namespace with its own /run/numastow and /etc/numastow."""
    if os.geteuid() != 0 or os.environ.get(PRIVATE):
        return
    os.makedirs("/run/numastow", exist_ok=True)
    os.makedirs("/etc/numastow", exist_ok=True)
    script = 'mount -t tmpfs -o mode=755 none /run/numastow && mount -t tmpfs none /etc/numastow && exec "$@"'
    mounts = ["unshare", "--mount", "--propagation", "private"]
    if run([*mounts, "sh", "-c", script, "sh", "true"], "").code:
        return
    os.environ[PRIVATE] = "1"
    os.execvp(mounts[0], [*mounts, "sh", "-c", script, "sh", sys.executable, *sys.argv])


class Runner:
    """numastow as some user, from a folder that everybody can read."""

    def __init__(self, folder, uid=None):
        self.numastow = os.path.join(folder, "numastow")
        self.prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        self.who = f"uid {uid}" if uid else "root"

    def argv(self, *words):
        return [*self.prefix, self.numastow, *words]

    def __call__(self, *words):
        return run(self.argv("run", *words), "")

    def ledger(self):
        return run(self.argv("ledger", "--json"), "").out


def failures(numastow):
    who = numastow.who
    for code, words in ((125, ()), (125, ("--bogus",)), (125, ("--cpus", "x", "true")),
                        (125, ("--cpus", "8000", "true")), (125, ("--policy", "near", "true")),
                        (125, ("--nodes", "1000", "true")), (125, ("--name", "a/b", "true")),
                        (125, ("--annotation", "cpsu=1", "true")), (125, ("--user", "no such user", "true")),
                        (125, ("-x", "--cpu-mode", "shared", "true")),
                        (126, ("/etc",)), (126, ("--", "/etc/passwd")),
                        (127, ("/no/such/program",)), (127, ("no-such-program",))):
        done = numastow(*words)
        check(f"{who}: run {' '.join(words)}: {code}, and why",
              done.code == code and done.err.strip() and not done.out, done)
    done = numastow("--policy", "near", "true")
    check(f"{who}: an error names option, value, and what is valid",
          all(w in done.err for w in ("--policy", '"near"', "weighted-interleave", "spread")), done)
    same(f"{who}: --help is no failure", numastow("--help").code, 0)


def process(numastow, *options):
    """What is the program's own: process, exit code, signals, standard streams, its environment."""
    who = numastow.who
    for code in (0, 1, 7, 125):
        same(f"{who}: the program's exit code {code}", numastow(*options, "sh", "-c", f"exit {code}").code, code)
    done = numastow(*options, "sh", "-c", "kill -TERM $$")
    same(f"{who}: a signal ends it as it would without numastow", done.code, -signal.SIGTERM)
    done = numastow(*options, "sh", "-c", 'echo "$1" - "$2"', "sh", "--cpus", "two words")
    same(f"{who}: the program's arguments are its own", done.out, "--cpus - two words\n")
    child = subprocess.Popen(numastow.argv("run", *options, "sh", "-c", "umask; trap; echo $$; read x; exit 3"),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             umask=0o027)
    said = [child.stdout.readline().strip() for _ in range(2)]
    same(f"{who}: it is the same process, with the caller's umask", said, ["0027", str(child.pid)])
    child.communicate("x\n")
    same(f"{who}: and reads its input", child.returncode, 3)
    child = subprocess.Popen(numastow.argv("run", *options, "sh", "-c", "kill -STOP $$; exit 4"), stderr=subprocess.DEVNULL)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    check(f"{who}: it is the program that stops", os.WIFSTOPPED(status), status)
    if os.WIFSTOPPED(status):
        child.send_signal(signal.SIGCONT)
        same(f"{who}: and goes on", child.wait(), 4)
    # Nothing of numastow's stays open: what the shell itself opens is above 2, too, so it is a list by a child.
    done = numastow(*options, "ls", "-l", "/proc/self/fd")
    check(f"{who}: no file of numastow stays open", "/run/numastow" not in done.out and "socket:" not in done.out,
          done.out)


def policies(numastow, *options):
    for word, seen in (("bind", "bind:0"), ("preferred", "prefer:0"), ("preferred-many", "prefer (many):0"),
                       ("interleave", "interleave:0"), ("weighted-interleave", "weighted interleave:0"),
                       ("local", "local")):
        done = numastow(*options, "--nodes", "0", "--policy", word, "sh", "-c", SHOW)
        if done.code == 125 and "needs Linux" in done.err:
            skip(f"{numastow.who}: --policy {word}", done.err.strip())
            continue
        check(f"{numastow.who}: --policy {word}", done.code == 0 and f" {seen} " in done.out, done.out + done.err)


def without_root(numastow):
    done = numastow("--nodes", "0", "sh", "-c", SHOW)
    check("without root: one line says what there is not",
          done.err.startswith("numastow: without root: ") and done.err.count("\n") == 1, done.err)
    with open("/proc/self/cgroup", encoding="ascii") as handle:
        check("without root: the cgroup stays", handle.read() in done.out, done.out)
    check("without root: bound to the node", " bind:0 " in done.out, done.out)
    same("--quiet leaves the line out", numastow("--quiet", "--nodes", "0", "true").err, "")
    for words in (("-x", "-c", "1"), ("--user", "root")):
        done = numastow(*words, "true")
        check(f"without root: {' '.join(words)} is refused", done.code == 125 and "only root" in done.err, done)
    policies(numastow, "--quiet")


# --- with a grant ---------------------------------------------------------------------------------


def cpusets_of_ours():
    """Why numastow cannot make a cgroup here, found out without it; "": it can."""
    if os.geteuid() != 0:
        return "not root"
    if not os.environ.get(PRIVATE):
        return "no mount namespace of its own"
    v1 = "/sys/fs/cgroup/cpuset"
    top = v1 if os.path.exists(v1 + "/cpuset.cpus") else "/sys/fs/cgroup"
    if top != v1 and os.path.isdir("/run/systemd/system"):
        return "systemd manages the cpusets: tests/vm/programs.sh"
    if top != v1 and not os.path.exists(top + "/cpuset.cpus.effective"):
        return "no cpuset hierarchy"
    if top == v1:
        with open("/proc/self/mountinfo", encoding="ascii") as handle:
            if not any(line.split()[3:5] == ["/", v1] for line in handle):
                return "only a part of the cpuset hierarchy is mounted"
    probe = f"{top}/numastow-probe-{os.getpid()}"
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        return f"no cgroup can be made: {error}"
    return ""


def groups():
    found = []
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/hugetlb",
                "/sys/fs/cgroup/unified"):
        if os.path.isdir(top + "/numastow"):
            found += [top + "/numastow/" + n for n in os.listdir(top + "/numastow")
                      if n.startswith(NAME)]
    return found


NAME = f"test{os.getpid()}"


def gone(numastow):
    done = run(numastow.argv("gc", "--quiet"), "")
    return done.code == 0 and NAME not in numastow.ledger() and not groups()


def granted(numastow):
    name = f"{NAME}-a"
    child = subprocess.Popen(
        numastow.argv("run", "--name", name, "--cpus", "1", "--nodes", "0", "--memory", "64Mi", "sh", "-c",
                      f"{SHOW}; echo; read x"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = ""
    for line in child.stdout:
        if line == "\n":
            break
        said += line
    check("with a grant: the cgroup is its own", f"/numastow/{name}\n" in said, said)
    check("the ledger shows it by its name", f'"{name}"' in numastow.ledger(), numastow.ledger())
    check("gc leaves it alone while it runs",
          run(numastow.argv("gc", "--quiet"), "").code == 0 and f'"{name}"' in numastow.ledger())
    done = numastow("--name", name, "true")
    check("a name is one program's", done.code == 125 and name in done.err, done)
    child.communicate("x\n")
    check("when it has ended, gc takes all of it back", gone(numastow), numastow.ledger() + repr(groups()))
    done = run(numastow.argv("why", name), "")
    check("why has its history", "placed" in done.out and "reclaimed" in done.out, done)


def as_user(numastow):
    done = numastow("--name", f"{NAME}-u", "--user", str(NOBODY), "sh", "-c",
                    "id -u; grep -E '^(Uid|Cap(Prm|Eff))' /proc/self/status; echo $HOME")
    lines = done.out.split("\n")
    check("--user: all of its ids, and no capability",
          done.code == 0 and lines[0] == str(NOBODY) and lines[1].split()[1:] == [str(NOBODY)] * 4 and
          all(int(line.split()[1], 16) == 0 for line in lines[2:4]), done.out + done.err)
    # Root may execute it, the user may not: the grant is taken back by root.
    with Temp() as folder:
        os.chmod(folder, 0o700)
        shutil.copy("/bin/true", f"{folder}/true")
        done = numastow("--name", f"{NAME}-x", "--user", str(NOBODY), f"{folder}/true")
        same("a program that the user may not execute", done.code, 126)
        check("has no grant any more, without gc", f'"{NAME}-x"' not in numastow.ledger(), numastow.ledger())


def each_node(numastow):
    try:
        with open("/sys/devices/system/node/has_cpu", encoding="ascii") as handle:
            nodes = parse_list(handle.read())
    except FileNotFoundError:
        nodes = {0}
    done = numastow("--each-node", "--name", f"{NAME}-e", "sh", "-c", "echo node=$NUMASTOW_NODE; exit 5")
    same("--each-node: an instance on each", sorted(done.out.split()), sorted(f"node={n}" for n in nodes))
    same("and the exit code", done.code, 5)
    done = numastow("--each-node", "--cpus", "8000", "--name", f"{NAME}-f", "echo", "started")
    check("--each-node: none starts when one does not fit", done.code == 125 and not done.out, done)


def killed(numastow):
    """Killed by SIGKILL at different system calls."""
    if not shutil.which("strace") or run(["strace", "-o", "/dev/null", "true"], "").code:
        skip("killed at any step on the live machine", "no strace here")
        return
    steps = 0
    for call, every in (("openat", 9), ("write", 1), ("mkdir", 1), ("pwrite64", 4)):
        for n in range(1, 400, every):
            done = run(["strace", "-o", "/dev/null", "-qq", "-e", f"inject={call}:signal=KILL:when={n}",
                        *numastow.argv("run", "--name", f"{NAME}-k", "--cpus", "1", "--nodes", "0", "--",
                                       "/bin/true")], "")
            if not done.killed:
                break
            steps += 1
            if not gone(numastow):
                check(f"killed at {call} {n}: gc takes all back", False, numastow.ledger() + repr(groups()))
    check("killed at system calls: gc takes all back", steps > 10, steps)


def main():
    in_private_mounts()
    with Temp() as folder:
        os.chmod(folder, 0o755)
        for program in ("numastow", "numastow-run"):
            shutil.copy(os.path.join(BUILD, program), folder)
            os.chmod(os.path.join(folder, program), 0o755)
        if os.geteuid() == 0:
            user = Runner(folder, NOBODY)
        else:
            user = Runner(folder)
            user.who = "a user"
        failures(user)
        process(user, "--quiet")
        without_root(user)
        root = Runner(folder)
        why = cpusets_of_ours()
        if why:
            skip("with a grant", why)
        else:
            failures(root)
            process(root)
            policies(root)
            granted(root)
            as_user(root)
            each_node(root)
            killed(root)
            check("at the end nothing is left", gone(root), root.ledger() + repr(groups()))
    finish()


if __name__ == "__main__":
    main()
