#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow status on copied trees: hooks of each runtime in force, missing and absent; valid and invalid configuration; mode,
grants and refusals; what only a daemon can tell is unknown there."""
import json
import os
import re

from harness import BUILD, GIB, Machine, Temp, check, finish, hook, run, same

NUMASTOW = os.path.join(BUILD, "numastow")
HOOKS = "/usr/share/containers/oci/hooks.d"
HOOK = os.path.join(os.path.realpath(BUILD), "numastow-hook")  # as numastow-setup names it
try:
    import tomllib  # noqa: F401
    TOML = True
except ModuleNotFoundError:
    try:
        import tomli  # noqa: F401
        TOML = True
    except ModuleNotFoundError:
        TOML = False


def status(machine, *words):
    return run([NUMASTOW, "status", "--sysroot", machine.path, *words], "")


def said(machine):
    done = status(machine, "--json")
    if not check("status answers", done.code in (0, 4) and not done.err, done):
        return None, {}
    answer = json.loads(done.out)
    same("the exit code follows the problems", done.code, 4 if answer["problems"] else 0)
    return done.code, answer


def state(answer, name):
    parts = {p["name"]: p for p in (*answer["hooks"], *answer["configuration"],
                                    *(answer[k] for k in ("ledger", "agent", "scheduler", "kubernetes")))}
    return parts[name]["state"], parts[name]["text"], parts[name]["command"]


def install(machine, runtime):
    machine.write(f"/usr/bin/{runtime}", "#!/bin/sh\n")


def write_hooks(machine, folder, program=HOOK):
    """As make install writes them."""
    machine.write(program, "#!/bin/sh\n")
    os.chmod(machine.file(program), 0o755)
    for stage, command in (("createRuntime", "apply"), ("poststop", "release")):
        machine.write(f"{folder}/numastow-{command}.json", json.dumps(
            {"version": "1.0.0", "hook": {"path": program, "args": ["numastow-hook", command], "timeout": 10},
             "when": {"always": True}, "stages": [stage]}))


def make(temp):
    machine = Machine(f"{temp}/m")
    install(machine, "podman")
    write_hooks(machine, HOOKS)
    return machine


def check_hooks(temp):
    machine = Machine(f"{temp}/m")
    code, answer = said(machine)
    same("a machine without a runtime is disabled, and that is a problem", (code, answer["mode"], answer["problems"]),
         (4, "disabled", 1))
    same("no runtime is installed", {h["text"] for h in answer["hooks"]}, {"not installed"})
    if not TOML:
        return
    machine = make(temp)
    code, answer = said(machine)
    same("Podman runs the hook", (code, answer["mode"], state(answer, "podman")[:2]), (0, "enforce", ("ok", "runs the hook")))
    os.unlink(machine.file(f"{HOOKS}/numastow-release.json"))
    code, answer = said(machine)
    check("a hook that is missing is named, with what to do", code == 4 and state(answer, "podman")[0] == "problem" and
          "poststop" in state(answer, "podman")[1] and state(answer, "podman")[2], answer["hooks"])
    machine = make(temp)
    os.unlink(machine.file(HOOK))
    check("hooks that name no program", "is not there" in state(said(machine)[1], "podman")[1])
    machine = make(temp)
    machine.write("/etc/containers/containers.conf", '[engine]\nhooks_dir = ["/srv/hooks"]\n')
    check("hooks_dir is another folder", "/srv/hooks" in state(said(machine)[1], "podman")[1])
    write_hooks(machine, "/srv/hooks")
    same("which then has them", state(said(machine)[1], "podman")[0], "ok")
    machine = make(temp)
    machine.write("/etc/containers/containers.conf.d/50-x.conf", '[engine]\nhooks_dir = ["/srv/hooks", {append = true}]\n')
    same("hooks_dir is appended to", state(said(machine)[1], "podman")[0], "ok")
    machine.write("/etc/containers/containers.conf", "[engine\n")
    same("a file that is no TOML", state(said(machine)[1], "podman")[0], "problem")
    machine = make(temp)
    install(machine, "containerd")
    machine.write("/etc/containerd/config.toml", "version = 3\n")
    code, answer = said(machine)
    same("containerd that was never set up is no problem", (code, state(answer, "containerd")[0]), (0, "off"))
    check("and status says how", state(answer, "containerd")[2] == "numastow setup containerd --write")
    machine.write("/etc/containerd/numastow-setup.json", "{}")
    same("one that was, and runs no hook, is", (said(machine)[0], state(said(machine)[1], "containerd")[0]), (4, "problem"))
    install(machine, "crio")
    os.makedirs(machine.file("/etc/crio"))
    same("CRI-O runs the hooks of the same folder", state(said(machine)[1], "crio")[:2], ("ok", "runs the hook"))


def check_configuration(temp):
    machine = make(temp)
    answer = said(machine)[1]
    same("without files the defaults apply", {p["state"] for p in answer["configuration"]}, {"off"})
    for name, good, bad in (("config.yaml", "mode: observe\n", "mode: maybe\n"),
                            ("agent.yaml", "poll-interval: 2s\n", "poll-interval: soon\n"),
                            ("scheduler.yaml", "log-level: info\n", "log-level: loud\n"),
                            ("client.yaml", "timeout: 5s\n", "timeout: late\n")):
        machine.write(f"/etc/numastow/{name}", good)
        same(f"a valid {name}", state(said(machine)[1], name)[:2], ("ok", "valid"))
        machine.write(f"/etc/numastow/{name}", bad)
        code, answer = said(machine)
        word = bad.split()[1]
        check(f"an invalid {name}: key and value are named", code == 4 and state(answer, name)[0] == "problem" and
              word in state(answer, name)[1] and state(answer, name)[2], state(answer, name))
        machine.write(f"/etc/numastow/{name}", good)
    if TOML:
        same("the mode", said(machine)[1]["mode"], "observe")


def check_command(temp):
    """numastow config check."""
    machine = make(temp)

    def config(*words):
        return run([NUMASTOW, "config", "check", *words], "")

    at = ("--sysroot", machine.path)
    done = config(*at)
    check("config check: without files the defaults apply", done.code == 0 and "defaults apply" in done.out, done)
    done = config(*at, "--agent")
    check("config check: one that is asked for must be there", done.one_line() and "agent.yaml" in done.err, done)
    texts = {"config.yaml": ("hook", "mode: observe\n", "# of this machine\nmode: maybe\n"),
             "agent.yaml": ("agent", "poll-interval: 2s\n", "\npoll-interval: soon\n"),
             "scheduler.yaml": ("scheduler", "log-level: info\n", "\nlog-level: loud\n"),
             "client.yaml": ("client", "timeout: 5s\n", "\ntimeout: late\n")}
    for name, (option, good, bad) in texts.items():
        path = machine.file(f"/etc/numastow/{name}")
        machine.write(f"/etc/numastow/{name}", good)
        for words in (at, (*at, f"--{option}"), (path,)):
            done = config(*words)
            check(f"config check: a valid {name}, {words[-1]}", done.code == 0 and f"{path}: valid\n" in done.out, done)
        check(f"config check: nothing to say of {name}", (done := config("--quiet", path)).code == 0 and not done.out, done)
        machine.write(f"/etc/numastow/{name}", bad)
        word = bad.split()[-1]
        for words in (at, (*at, f"--{option}"), (path,)):
            done = config(*words)
            check(f"config check: an invalid {name}, {words[-1]}", done.code == 1 and f"{path}:2" in done.err and word in done.err and
                  done.err.startswith("numastow: ") and done.err.count("\n") == 1, done)
        answer = json.loads(config(*at, "--json").out)["files"]
        same(f"config check: JSON of {name}", [f["valid"] for f in answer if f["file"] == path], [False])
        check("config check: with the fault", [word in f["fault"] for f in answer if f["file"] == path] == [True], answer)
        machine.write(f"/etc/numastow/{name}", good)
        machine.write(f"/etc/numastow/new-{option}", good)
        done = config(f"--{option}", machine.file(f"/etc/numastow/new-{option}"))
        check(f"config check: another name, as {name}", done.code == 0, done)
    done = config(*at)
    same("config check: all four", (done.code, done.out.count(": valid\n")), (0, 4))
    for words in ((), ("check", "--agent", "--client", "x"), ("nosuch",)):
        done = run([NUMASTOW, "config", *words], "")
        check(f"config {' '.join(words)}: wrong usage", done.code == 2 and not done.out, done)


def check_grants(temp):
    machine = make(temp)
    same("nothing is granted", said(machine)[1]["granted"], {
        "n_containers": 0, "n_leases": 0, "n_exclusive_cpus": 0, "n_shared_cpus": 0, "memory": 0, "hugepages": 0, "fenced": ""})
    machine.container("web", annotations={"numastow.io/cpus": "2", "numastow.io/cpu-mode": "exclusive",
                                          "numastow.io/memory": "1Gi"})
    check("a container is placed", hook(machine, "apply", machine.state("web")).code == 0)
    for name in ("a", "b", "c", "d"):
        machine.container(name, annotations={"numastow.io/cpus": "99"})
        check(f"{name} is refused", hook(machine, "apply", machine.state(name)).code != 0)
    answer = said(machine)[1]
    granted = answer["granted"]
    same("what is granted", [granted[k] for k in ("n_containers", "n_exclusive_cpus", "memory")], [1, 2, GIB])
    same("the nodes", [answer["machine"][k] for k in ("n_nodes", "n_cpus", "memory")], [2, 8, 32 * GIB])
    same("the last refusals, the newest first", [r["id"] for r in answer["refusals"]], ["d", "c", "b"])
    check("with time and reason", all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r["at"]) and "99" in r["reason"]
                                      for r in answer["refusals"]), answer["refusals"])
    text = status(machine).out
    check("text has them, too", "2 exclusive CPUs" in text and text.count(" refused ") == 3 and "numastow why" in text, text)
    same("--bytes", [l for l in status(machine, "-b").out.splitlines() if str(32 * GIB) in l] != [], True)
    same("--quiet", status(machine, "-q").out, "")


def check_daemons(temp):
    machine = make(temp)
    answer = said(machine)[1]
    same("a copied tree cannot tell whether the agent runs", state(answer, "agent")[:2], ("unknown", "does not start at boot"))
    same("no scheduler, no Kubernetes", [state(answer, k)[0] for k in ("scheduler", "kubernetes")], ["off", "off"])
    machine.write("/etc/numastow/agent.yaml", "kubernetes: true\nscheduler: a:7200\n")
    os.makedirs(machine.file("/etc/systemd/system/multi-user.target.wants"))
    os.symlink("/lib/systemd/system/numastow-agent.service",
               machine.file("/etc/systemd/system/multi-user.target.wants/numastow-agent.service"))
    answer = said(machine)[1]
    same("configured, and unknown there", [state(answer, k)[:2] for k in ("agent", "scheduler", "kubernetes")],
         [("unknown", "starts at boot"), ("unknown", "is configured"), ("unknown", "on in agent.yaml")])


def check_odd(temp):
    machine = make(temp)
    check("a container is placed", hook(machine, "apply", machine.container("web", {"numastow.io/cpus": "1"})).code == 0)
    bad = []
    for path in (f"{HOOKS}/numastow-apply.json", "/etc/numastow/config.yaml", "/etc/numastow/agent.yaml",
                 "/etc/numastow/client.yaml", "/sys/devices/system/node/node0/meminfo",
                 "/sys/devices/system/node/online", "/proc/zoneinfo", "/etc/containers/containers.conf"):
        before = machine.read(path) if machine.exists(path) else None
        for text in ("", "garbage\n", "[]\n", "\x01\x02: {\n"):
            machine.write(path, text)
            done = status(machine, "--json")
            if done.code not in (0, 1, 4) or (done.code != 1 and not done.out.startswith("{")):
                bad.append((path, text, done))
        if before is None:
            os.unlink(machine.file(path))
        else:
            machine.write(path, before + "\n")
    same("no odd file crashes it", bad, [])
    empty = Machine(f"{temp}/empty", fresh=False)
    os.makedirs(empty.path)
    same("an empty tree", [said(empty)[1][k] for k in ("mode", "machine")], ["disabled", None])


def check_topics():
    topics = re.findall(r"^  ([a-z-]+) ", run([NUMASTOW, "--help"], "").out.split("Topics")[1], re.M)
    check("--help lists topics", len(topics) > 2, topics)
    for topic in topics:
        done = run([NUMASTOW, "help", topic], "")
        check(f"help {topic}", done.code == 0 and not done.err and done.out.count("\n") > 4 and
              max(map(len, done.out.splitlines())) <= 80, done)
    same("help of a command is its --help", run([NUMASTOW, "help", "status"], "").out, run([NUMASTOW, "status", "--help"], "").out)
    same("no such topic", run([NUMASTOW, "help", "nosuch"], "").code, 2)


def main():
    check_topics()
    with Temp() as temp:
        check_hooks(temp)
        check_configuration(temp)
        check_command(temp)
        check_grants(temp)
        check_daemons(temp)
        check_odd(temp)
    finish()


main()
