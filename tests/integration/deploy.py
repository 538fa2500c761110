#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/: the sample settings are the programs' defaults, units are valid, and uninstalling removes what was installed."""
import gzip
import os
import re
import shutil
import subprocess

import yaml

from harness import BUILD, PROJECT, Temp, check, finish, run, same, skip

DEPLOY = os.path.join(PROJECT, "deploy")
# Defaults that --help describes, because they are not values.
NO_VALUE = {"the host name", "none", "its address", "the pod's service account", "as installed"}
FILES = ("ca", "certificate", "key", "webhook-secret", "webhook-ca", "admission", "admission-certificate",
         "admission-key", "admission-ca", "extender", "extender-ca", "kubeconfig")
# systemd's "overall exposure level", times ten: what the sandboxes were when they were made.
EXPOSURE = {"numastow-agent": 38, "numastow-scheduler": 13}


def text_of(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def settings_of(*argv):
    """{setting: default or None}, from --help."""
    found = {}
    text = run([os.path.join(BUILD, argv[0]), *argv[1:], "--help"], "").out
    text = re.sub(r"\n {16,}", " ", text)  # an option's text goes on in the next line
    # Of the command's options those that are keys of its file come last.
    for line in text.rpartition("These are keys of")[2].splitlines():
        option = re.match(r" +--([a-z-]+)(?: [A-Z]\S*)? +(.*)", line)
        if option and option.group(1) not in ("config", "check-config", "sysroot", "copy-store"):
            default = re.search(r"\(([^()]*)\)$", option.group(2))
            found[option.group(1)] = default and default.group(1)
    return found


def check_shown(program, text, settings, at_least):
    shown = dict(re.findall(r"^#([a-z-]+): *(.*)$", text, re.M))
    same(f"{program}: the sample has every setting, and no other", sorted(shown), sorted(settings))
    wrong = [f"{k}: {shown.get(k)} instead of {v}" for k, v in settings.items()
             if v and v not in NO_VALUE and shown.get(k) != v]
    check(f"{program}: the values shown are the defaults",
          len(settings) >= at_least and not wrong, wrong)


def check_client(temp):
    """The command has no --check-config: its settings are right when it goes on to the agent."""
    sample, used, socket = f"{DEPLOY}/client.yaml", f"{temp}/client.yaml", f"{temp}/no-agent.sock"
    text = text_of(sample)
    check_shown("numastow", text, settings_of("numastow", "nodes"), 7)
    with open(used, "w", encoding="utf-8") as handle:
        handle.write(re.sub(r"^#([a-z-]+:)", r"\1", text, flags=re.M))
    for what, path in (("the sample as it is says nothing", sample),
                       ("with all of it in use it is right", used)):
        tried = run([f"{BUILD}/numastow", "node", "--config", path, "--agent", socket], "")
        check(f"numastow: {what}", tried.one_line() and socket in tried.err, tried)
    with open(used, "a", encoding="utf-8") as handle:
        handle.write("schedulers: x\n")
    tried = run([f"{BUILD}/numastow", "node", "--config", used, "--agent", socket], "")
    check("numastow: an unknown key is wrong usage",
          tried.code == 2 and 'did you mean "scheduler"' in tried.err, tried)


def check_hook(temp):
    """config.yaml has no --help: its keys are those of the tables that it is read with."""
    source = text_of(os.path.join(PROJECT, "lib/place/config.c"))
    tables = {name: set(re.findall(r'\{ "([a-z-]+)", STOW_SETTING_', table))
              for name, table in re.findall(r"struct stow_setting (\w+)\[\] = \{(.*?)\n\};", source, re.S)}
    nested = set(re.findall(r'\.name = "([a-z-]+)",\s+\.table', source))
    used = re.sub(r"^#(?=[a-z]|  )", "", text_of(f"{DEPLOY}/config.yaml"), flags=re.M)
    with open(f"{temp}/config.yaml", "w", encoding="utf-8") as handle:
        handle.write(used)
    done = run([f"{BUILD}/numastow", "config", "check", f"{temp}/config.yaml"], "")
    check("config.yaml: with all of it in use it is right", done.code == 0, done)
    shown = yaml.safe_load(used)
    same("config.yaml: the sample has every key, and no other", set(shown), tables["settings"] | nested)
    same("config.yaml: the keys of its lists, too",
         (set(shown["caps"]), {key for e in shown["reserved"] for key in e}, {key for e in shown["namespaces"] for key in e}),
         (tables["cap_settings"], tables["node_settings"], tables["namespace_settings"]))


def check_sample(program, temp):
    sample = f"{DEPLOY}/{program.removeprefix('numastow-')}.yaml"
    text = text_of(sample)
    check_shown(program, text, settings_of(program), 11)
    argv = [os.path.join(BUILD, program), "--check-config", "--config"]
    good = run(argv + [sample], "")
    check(f"{program}: the sample as it is says nothing", good.code == 0, good)
    used = re.sub(rf"^#(?!(?:{'|'.join(FILES)}):)([a-z-]+:)", r"\1", text, flags=re.M)
    used = re.sub(r"^readers:.*$", "readers: root", used, flags=re.M)  # a group that every machine has
    with open(f"{temp}/used.yaml", "w", encoding="utf-8") as handle:
        handle.write(used)
    good = run(argv + [f"{temp}/used.yaml"], "")
    check(f"{program}: with all of it in use it is right", used != text and good.code == 0, good)


def check_unit(name, temp):
    unit = f"{temp}/{name}.service"
    with open(unit, "w", encoding="utf-8") as handle:
        handle.write(text_of(f"{DEPLOY}/systemd/{name}.service")
                     .replace("@SBINDIR@", BUILD).replace("@BINDIR@", BUILD))
    said = run(["systemd-analyze", "verify", "--man=no", unit], "")
    check(f"{name}: systemd finds nothing wrong", said.code == 0 and not said.err, said)
    check(f"{name}: its memory has a limit", re.search(r"^MemoryMax=\d+[MG]$", text_of(unit), re.M))
    if name in EXPOSURE:
        said = run(["systemd-analyze", "security", "--offline=true",
                    f"--threshold={EXPOSURE[name]}", unit], "")
        check(f"{name}: the sandbox is as tight as it was", said.code == 0,
              said.out.strip().splitlines()[-1:] or said)


def install(command, root, **more):
    env = dict(os.environ, DESTDIR=root, BUILD=BUILD, PREFIX="/usr", MANDIR="/usr/share/man",
               LIBEXECDIR="/usr/libexec/numastow", SYSCONFDIR="/etc", UNITDIR="/lib/systemd/system",
               HOOKSDIR="/usr/share/containers/oci/hooks.d", **more)
    return subprocess.run([f"{DEPLOY}/install", command], cwd=PROJECT, env=env, check=False,
                          capture_output=True, text=True)


def files_in(root):
    return sorted(os.path.relpath(os.path.join(at, f), root)
                  for at, _, files in os.walk(root) for f in files)


def check_links(root, before):
    """Another program of that name is not touched, whatever comes later."""
    links = {f"usr/bin/{name}" for name in ("numactl", "migratepages")}
    with open(f"{root}/usr/bin/taskset", "w", encoding="utf-8") as handle:
        handle.write("another")
    for what, more in (("links are made where no file is", {"LINKS": "yes"}), ("and stay without being asked for", {})):
        done = install("install", root, **more)
        same(what, set(files_in(root)) - set(before), links | {"usr/bin/taskset"})
        same("to the command", {os.readlink(f"{root}/{path}") for path in links}, {"numastow"})
        same("the other program is left", (text_of(f"{root}/usr/bin/taskset"), "is another program" in done.stdout),
             ("another", bool(more)))


def check_upgrade(root, found):
    """From a version that had another file, and other samples; one of these was changed."""
    share = f"{root}/usr/share/numastow"
    for path, text in ((f"{share}/config.yaml", "# before\n"), (f"{root}/etc/numastow/config.yaml", "# before\n"),
                       (f"{share}/client.yaml", "# before\n"), (f"{root}/etc/numastow/client.yaml", "timeout: 7s\n"),
                       (f"{share}/gone", "")):
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)
    with open(f"{share}/installed", "a", encoding="utf-8") as handle:
        handle.write("/usr/share/numastow/gone\n")
    install("install", root)
    same("after an upgrade, what only the version before had is gone", files_in(root), found)
    same("configuration that was not changed is the new sample, other stays",
         (text_of(f"{root}/etc/numastow/config.yaml"), text_of(f"{root}/etc/numastow/client.yaml")),
         (text_of(f"{DEPLOY}/config.yaml"), "timeout: 7s\n"))
    shutil.copy(f"{DEPLOY}/client.yaml", f"{root}/etc/numastow/client.yaml")


def check_install(temp):
    root = f"{temp}/root"
    done = install("install", root)
    found = files_in(root)
    if not check("everything is installed", done.returncode == 0, done.stderr):
        return
    for path in ("usr/bin/numastow", "usr/bin/kubectl-numastow", "usr/bin/kubectl_complete-numastow", "usr/sbin/numastow-agent", "usr/sbin/numastow-scheduler",
                 "usr/sbin/numastow-ca", "usr/libexec/numastow/numastow-hook",
                 "usr/libexec/numastow/numastow-fleet", "usr/libexec/numastow/numastow-run", "usr/libexec/numastow/numastow-top", "usr/libexec/numastow/numastow-view", "usr/libexec/numastow/numastow-setup",
                 "usr/libexec/numastow/base-runtime-spec.json", "usr/share/man/man8/numastow-ca.8.gz",
                 "usr/share/man/man5/numastow-agent.yaml.5.gz", "etc/numastow/config.yaml",
                 "usr/share/man/man5/numastow-client.yaml.5.gz",
                 "usr/share/bash-completion/completions/numastow", "usr/share/zsh/vendor-completions/_numastow",
                 "usr/share/fish/vendor_completions.d/numastow.fish",
                 "usr/share/numastow/schemas/topology.json", "usr/share/numastow/schemas/common.json",
                 "usr/share/numastow/numastow.rules.yaml",
                 "etc/numastow/agent.yaml", "etc/numastow/scheduler.yaml",
                 "etc/numastow/client.yaml"):
        check(f"/{path} is there", path in found, found)
    filled = [f for f in found if f.endswith((".service", ".timer", ".json"))]
    left = [f for f in filled if re.search(r"@[A-Z]+@", text_of(f"{root}/{f}"))]
    check("in units and hooks every folder is filled in", len(filled) >= 6 and not left, left)
    programs = [p for f in filled for p in re.findall(r'^ExecStart=(\S+)|"path": "(/\S+)"',
                                                      text_of(f"{root}/{f}"), re.M)]
    missing = [p for p in map("".join, programs) if p.lstrip("/") not in found]
    check("and what they start is there", programs and not missing, missing)
    with gzip.open(f"{root}/usr/share/man/man1/numastow-drain.1.gz", "rt") as page:
        check("a man page has the version", f'"numastow {text_of("VERSION").strip()}"' in page.read())
    install("install", root)
    same("installed twice it is the same", files_in(root), found)
    check_upgrade(root, found)
    check_links(root, found)
    with open(f"{root}/etc/numastow/agent.yaml", "a", encoding="utf-8") as handle:
        handle.write("mode: observe\n")
    done = install("uninstall", root)
    os.unlink(f"{root}/usr/bin/taskset")
    same("uninstalled, only changed settings stay", (done.returncode, files_in(root)),
         (0, ["etc/numastow/agent.yaml"]))
    check("which is said", "agent.yaml was changed" in done.stdout, done.stdout)


def main():
    with Temp() as temp:
        for program in ("numastow-agent", "numastow-scheduler"):
            check_sample(program, temp)
        check_client(temp)
        check_hook(temp)
        for name in ("numastow-agent", "numastow-scheduler", "numastow-gc"):
            if shutil.which("systemd-analyze"):
                check_unit(name, temp)
            else:
                skip(f"{name}: systemd finds nothing wrong", "no systemd-analyze")
        check_install(temp)
    finish()


if __name__ == "__main__":
    main()
