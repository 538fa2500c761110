#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow setup: runtimes' configurations in a tree, changed and changed back byte by byte; and, where containerd is
installed, what containerd itself reads there."""
import json
import os
import shutil
import subprocess
import tomllib

from harness import BUILD, HOOK, PROJECT, Temp, check, finish, run, same, skip

V3 = """version = 3
root = "/var/lib/containerd"

[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    pod_annotations = [ # of others
      'a/*',
    ]
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]
    runtime_type = 'io.containerd.kata.v2'
"""
V2 = """# the administrator's
version = 2
[plugins."io.containerd.grpc.v1.cri"] # the CRI plugin
  sandbox_image = "pause"   # "[not.a.header]"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = ""
      pod_annotations = [
        "a/*", # ours
      ] # end
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "/usr/bin/crun"
[timeouts]
  "io.containerd.timeout.shim.load" = "5s"
"""
CONFIG = "/etc/containerd/config.toml"


class Host:
    def __init__(self, folder, name, files, hook="/usr/libexec/numastow/numastow-hook"):
        self.root, self.hook = f"{folder}/{name}", hook
        for path, text in {hook: "#!/bin/sh\n", **files}.items():
            self.write(path, text)
        os.chmod(self.root + hook, 0o755)

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8", newline="") as handle:
            handle.write(text)

    def read(self, path):
        with open(self.root + path, encoding="utf-8", newline="") as handle:
            return handle.read()

    def toml(self, path=CONFIG):
        return tomllib.loads(self.read(path))

    def setup(self, runtime, *words):
        return run([f"{BUILD}/numastow", "setup", runtime, "--sysroot", self.root, "--hook", self.hook, *words], "")

    def state(self):
        """{path: (content, mode)} of all files and folders."""
        found = {}
        for at, folders, files in os.walk(self.root):
            for name in files + folders:
                path = os.path.join(at, name)
                text = self.read(path[len(self.root):]) if name in files and not os.path.islink(path) else None
                found[path] = (text, os.lstat(path).st_mode)
        return found


def handler(config, plugin, name):
    return config["plugins"][plugin]["containerd"]["runtimes"][name]


def round_trip(what, host, runtime, look):
    """Diff, write, check, write again, undo."""
    before = host.state()
    shown = host.setup(runtime)
    check(f"{what}: a diff is shown, and nothing is changed",
          shown.code == 0 and "\n+" in shown.out and host.state() == before, shown)
    check(f"{what}: before, the check says what is missing", host.setup(runtime, "--check").code == 1)
    done = host.setup(runtime, "--write")
    if not check(f"{what}: it is written", done.code == 0 and not done.err and shown.out in done.out, done):
        return
    look()
    done = host.setup(runtime, "--check")
    check(f"{what}: the check agrees", done.code == 0 and done.out == f"{runtime} runs the hook\n", (done, done.out))
    written = host.state()
    done = host.setup(runtime, "--write")
    check(f"{what}: a second time there is nothing to change",
          done.out == "There is nothing to change.\n" and host.state() == written, (done, done.out))
    done = host.setup(runtime, "--undo")
    check(f"{what}: undone to the byte", done.code == 0 and host.state() == before, (done, done.out[-300:]))
    check(f"{what}: and no second time", host.setup(runtime, "--undo").out == "There is nothing to undo.\n")


def check_hooks(what, host, path, others=()):
    spec = json.loads(host.read(path))
    same(f"{what}: {path} has the hooks", spec["hooks"], {
        "createRuntime": [*others, {"path": host.hook, "args": ["numastow-hook", "apply"], "timeout": 10}],
        "poststop": [{"path": host.hook, "args": ["numastow-hook", "release"], "timeout": 10}]})
    return spec


def check_v3(folder):
    plugin = "io.containerd.cri.v1.runtime"
    for what, text in (("version 3", V3), ("no newline at the end", V3.rstrip()),
                       ("imports of others", f"imports = ['/etc/containerd/more/*.toml']\n{V3}"),
                       ("no version line's newline", "version = 3"),
                       ("version 4", V3.replace("version = 3", "version = 4"))):
        host = Host(folder, what.replace(" ", "-"), {CONFIG: text, "/etc/containerd/conf.d/other.toml": "garbage ="})

        def look(host=host, what=what, text=text):
            drop_in = host.toml("/etc/containerd/conf.d/99-numastow.toml")
            ours = handler(drop_in, plugin, "runc")
            before = ["a/*"] if "a/*" in text else []
            same(f"{what}: the drop-in has only what is to be set", (sorted(drop_in["plugins"][plugin]["containerd"][
                "runtimes"]), ours["pod_annotations"], drop_in["version"]),
                (["runc"], [*before, "numastow.io/*"], tomllib.loads(text)["version"]))
            check(f"{what}: it is imported, and nothing else is",
                  host.toml()["imports"][-1] == "/etc/containerd/conf.d/*numastow.toml", host.toml())
            spec = check_hooks(what, host, ours["base_runtime_spec"])
            check(f"{what}: pods keep their limits of open files", "rlimits" not in spec["process"] and
                  spec["mounts"] and spec["process"]["capabilities"])
        round_trip(what, host, "containerd", look)
    host = Host(folder, "imported", {CONFIG: "imports = ['/etc/containerd/conf.d/*.toml']\n" + V3})
    host.setup("containerd", "--write")
    same("a folder that is imported already is used as it is", host.read(CONFIG),
         "imports = ['/etc/containerd/conf.d/*.toml']\n" + V3)
    host.write("/etc/containerd/conf.d/zz.toml",
               f"version = 3\n[plugins.'{plugin}'.containerd.runtimes.runc]\npod_annotations = ['z']\n")
    done = host.setup("containerd")
    check("a file that is loaded later overrides it: one line", done.one_line() and "conf.d/zz.toml: pod_annotations" in
          done.err, done)
    check("and the check says so", host.setup("containerd", "--check").code == 1)


def check_v2(folder):
    plugin = "io.containerd.grpc.v1.cri"

    def look_for(host, path, what):
        def look():
            config = host.toml(path)
            same(f"{what}: CDI is on", (config["plugins"][plugin]["enable_cdi"],
                                        config["plugins"][plugin]["cdi_spec_dirs"]), (True, ["/etc/cdi", "/var/run/cdi"]))
            same(f"{what}: annotations", [handler(config, plugin, n)["pod_annotations"] for n in ("runc", "crun")],
                 [["a/*", "numastow.io/*"], ["numastow.io/*"]])
            for name in ("runc", "crun"):
                check_hooks(what, host, handler(config, plugin, name)["base_runtime_spec"])
            same(f"{what}: the rest is as it was", (config["plugins"][plugin]["sandbox_image"], handler(
                config, plugin, "crun")["options"]), ("pause", {"BinaryName": "/usr/bin/crun"}))
        return look
    for what, text in (("version 2", V2), ("version 2, no newline", V2.rstrip()),
                       ("version 2, its last table", V2[:V2.index("[timeouts]")].rstrip())):
        host = Host(folder, what.replace(" ", "-"), {CONFIG: text})
        round_trip(what, host, "containerd", look_for(host, CONFIG, what))
    # containerd 1 takes the whole section from the last file that has one: a drop-in would lose the rest.
    host = Host(folder, "split", {CONFIG: "version = 2\nimports = ['/etc/containerd/x.toml']\n" + V2.split("\n", 2)[2],
                                  "/etc/containerd/x.toml": V2})
    round_trip("version 2, overridden in an imported file", host, "containerd",
               look_for(host, "/etc/containerd/x.toml", "imported file"))
    host = Host(folder, "edited", {CONFIG: V2})
    host.setup("containerd", "--write")
    changed = host.read(CONFIG).replace('"pause"', '"pause:2"') + "[debug]\n  level = \"info\"\n"
    host.write(CONFIG, changed)
    done = host.setup("containerd", "--undo")
    same("edited since: only our lines go", host.read(CONFIG),
         V2.replace('"pause"', '"pause:2"') + "[debug]\n  level = \"info\"\n")
    check("edited since: without a word of failure", done.code == 0 and not done.err, done)


def check_base_spec(folder):
    theirs = {"ociVersion": "1.0.2", "process": {"rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]},
              "hooks": {"createRuntime": [{"path": "/bin/other"}]}}
    host = Host(folder, "spec", {CONFIG: V2.replace('base_runtime_spec = ""', 'base_runtime_spec = "/etc/base.json"'),
                                 "/etc/base.json": json.dumps(theirs)})
    before = host.state()
    host.setup("containerd", "--write")
    spec = check_hooks("a specification of the administrator", host, "/etc/containerd/numastow-runc.json",
                       [{"path": "/bin/other"}])
    same("its limits stay", spec["process"], theirs["process"])
    check("it is as it was", json.loads(host.read("/etc/base.json")) == theirs)
    own = "/etc/containerd/numastow-runc.json"
    host.write(own, host.read(own).replace("RLIMIT_CORE", "RLIMIT_CPU"))
    edited = host.state()
    for words in ((), ("--write",), ("--undo",)):
        done = host.setup("containerd", *words)
        check(f"our file was edited {words}: one line, and nothing is written",
              done.one_line() and f"{own} was changed since" in done.err and host.state() == edited, done)
    host.write(own, host.read(own).replace("RLIMIT_CPU", "RLIMIT_CORE"))
    host.setup("containerd", "--undo")
    check("with the edit gone it is undone", host.state() == before)


def check_files(folder):
    host = Host(folder, "links", {"/srv/real.toml": V3})
    os.chmod(f"{host.root}/srv/real.toml", 0o640)
    os.makedirs(f"{host.root}/etc/containerd")
    os.symlink("/srv/real.toml", host.root + CONFIG)
    if os.geteuid() == 0:
        os.chown(f"{host.root}/srv/real.toml", 12, 34)
    host.setup("containerd", "--write")
    info = os.stat(f"{host.root}/srv/real.toml")
    check("a symbolic link is followed within the tree, and stays",
          os.path.islink(host.root + CONFIG) and "imports" in host.read("/srv/real.toml"))
    same("mode and owner stay", (info.st_mode & 0o777, *((info.st_uid, info.st_gid) if os.geteuid() == 0 else ())),
         (0o640, *((12, 34) if os.geteuid() == 0 else ())))
    os.unlink(host.root + CONFIG)
    os.symlink(CONFIG, host.root + CONFIG)
    done = host.setup("containerd")
    check("a circle of links: one line", done.one_line() and "too many symbolic links" in done.err, done)
    host = Host(folder, "user", {CONFIG: V3})
    if os.geteuid() == 0:
        # Where this project is, others may not be able to read.
        os.chmod(folder, 0o755)
        for name in ("numastow-setup", "base-runtime-spec.json"):
            shutil.copy(f"{BUILD}/{name}", folder)
        done = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"{folder}/numastow-setup",
                    "containerd", "--sysroot", host.root, "--hook", host.hook, "--write"], "")
        check("without root: the diff, and one line", "+imports" in done.out and done.one_line() and
              "--write needs root" in done.err, done)


def check_refused(folder):
    inline = "version = 2\n[plugins]\n'io.containerd.grpc.v1.cri' = {containerd = {runtimes = {runc = {}}}}\n"
    for number, (what, files, why) in enumerate((
            ("no file", {}, "there is no /etc/containerd/config.toml"),
            ("version 1", {CONFIG: "root = '/x'\n"}, "has version 1"),
            ("not TOML", {CONFIG: "version = \n"}, "/etc/containerd/config.toml: "),
            ("deep", {CONFIG: "version = 2\nx = " + "[" * 100000}, "/etc/containerd/config.toml: "),
            ("not UTF-8", {CONFIG: "\x00"}, "/etc/containerd/config.toml: "),
            ("too long", {CONFIG: "#" * (5 << 20)}, "is longer than 4 MiB"),
            ("an import that is not there", {CONFIG: "version = 3\nimports = ['x.toml']\n"}, "/etc/containerd/x.toml"),
            ("a list of no strings", {CONFIG: "version = 3\nimports = [1]\n"}, "of an unexpected type"),
            ("an inline table", {CONFIG: inline}, "set it by hand: "),
            ("no handler of runc", {CONFIG: V3.replace("io.containerd.runc.v2", "io.containerd.kata.v2")},
             "no runtime handler of type io.containerd.runc.v2"),
            ("a handler's name that is a path", {CONFIG: V2.replace("runtimes.crun", "runtimes.'../x'")},
             "'../x' is not the name of a runtime handler"),
            ("a specification that is not there", {CONFIG: V2.replace('spec = ""', 'spec = "/x.json"')},
             "/x.json, the base_runtime_spec of runc, is not there"),
            ("a specification that is none", {CONFIG: V2.replace('spec = ""', 'spec = "/x.json"'), "/x.json": "[]"},
             "/x.json is not an OCI specification"),
            ("a record that is none", {CONFIG: V2, "/etc/containerd/numastow-setup.json": "[]"},
             "is not a record of this command"))):
        host = Host(folder, f"refused-{number}", files)
        before = host.state()
        done = host.setup("containerd", "--write")
        check(f"{what}: one line, and nothing is written",
              done.one_line() and why in done.err and host.state() == before, done)
    loop = Host(folder, "loop", {CONFIG: "imports = ['config.toml', '*.toml']\n" + V3})
    check("files that import each other are read once", loop.setup("containerd").code == 0)
    for words in ((), ("docker",), ("crio", "--write", "--undo"), ("crio", "--wri")):
        done = run([f"{BUILD}/numastow", "setup", *words], "")
        check(f"setup {words}: wrong usage", done.code == 2 and done.err.startswith("numastow: ") and
              done.err.endswith("\nTry 'numastow setup --help'.\n"), done)
    done = Host(folder, "nocrio", {}).setup("crio")
    check("no CRI-O: one line", done.one_line() and "CRI-O is not installed here" in done.err, done)


def check_crio(folder):
    main, drop_in = "/etc/crio/crio.conf", "/etc/crio/crio.conf.d/99-numastow.conf"
    hooks = "/usr/share/containers/oci/hooks.d"
    host = Host(folder, "crio", {main: "[crio.runtime]\ncdi_spec_dirs = ['/etc/cdi']\n"})

    def look():
        for command, stage in (("apply", "createRuntime"), ("release", "poststop")):
            hook = json.loads(host.read(f"{hooks}/numastow-{command}.json"))
            same(f"crio: the hook {command}", (hook["hook"]["path"], hook["hook"]["args"][1], hook["stages"], hook["when"]),
                 (host.hook, command, [stage], {"always": True}))
        same("crio: CDI's folder is added", host.toml(drop_in)["crio"]["runtime"],
             {"cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"]})
    round_trip("crio", host, "crio", look)
    host.write(main, "")
    host.setup("crio", "--write")
    installed = {p: host.read(p) for p in (f"{hooks}/numastow-apply.json", f"{hooks}/numastow-release.json")}
    host.setup("crio", "--undo")
    # As `make install` puts them, with a CRI-O that looks elsewhere.
    host = Host(folder, "crio2", {main: "[crio.runtime]\nhooks_dir = ['/opt/hooks']\n",
                                  # CRI-O reads all files below, those of "50" before "50-x".
                                  "/etc/crio/crio.conf.d/50/x": "[crio.runtime]\nhooks_dir = ['/opt/less']\n",
                                  "/etc/crio/crio.conf.d/50-x": "[crio.runtime]\nhooks_dir = ['/opt/more']\n", **installed})
    round_trip("crio with other folders", host, "crio",
               lambda: same("the folder of the installed hooks is added",
                            host.toml(drop_in)["crio"]["runtime"], {"hooks_dir": ["/opt/more", hooks]}))
    host = Host(folder, "crio3", {main: "", **installed})
    check("crio with installed hooks: there is nothing to change",
          host.setup("crio").out == "There is nothing to change.\n" and host.setup("crio", "--check").code == 0)
    host.write("/etc/crio/crio.conf.d/zz/.kept", "[crio.runtime]\ncdi_spec_dirs = ['/x']\n")
    done = host.setup("crio")
    check("crio: a later file overrides it: one line", done.one_line() and "overrides cdi_spec_dirs" in done.err, done)


def check_containerd(folder):
    """containerd reads what was written: its own /etc/containerd, in a mount namespace."""
    program = shutil.which("containerd")
    if not program:
        # The one that tests/kubernetes has built.
        parts = run([f"{PROJECT}/tests/kubernetes/parts", "dir"], "").out.strip()
        if os.access(f"{parts}/containerd", os.X_OK):
            os.environ["PATH"] = f"{parts}:{os.environ['PATH']}"
            program = f"{parts}/containerd"
    if not program or os.geteuid() != 0:
        skip("what containerd itself reads", "it needs root" if program else "containerd is not there")
        return
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    text = V2 if version.lstrip("v").startswith("1.") else V3
    host = Host(folder, "real", {CONFIG: text}, hook=HOOK)
    script = (f"mount -t tmpfs none /mnt && cp -a {host.root}/etc/containerd /mnt/ && mkdir -p /etc/containerd && "
              "mount --bind /mnt/containerd /etc/containerd && exec \"$@\"")

    def inside(*words):
        return run(["unshare", "-m", "sh", "-c", script, "sh", *words], "")
    check("containerd itself: the check asks it", "config dump" in inside(
        f"{BUILD}/numastow", "setup", "containerd", "--hook", HOOK, "--check").out)
    done = inside("sh", "-c", f"{BUILD}/numastow setup containerd --hook {HOOK} --write >&2 && "
                              f"{BUILD}/numastow setup containerd --hook {HOOK} --check && containerd config dump 2>/dev/null")
    if not check(f"containerd {version} has the hooks", done.code == 0 and done.out.startswith("containerd runs the hook\n"),
                 done):
        return
    dump = tomllib.loads(done.out.split("\n", 1)[1])
    plugin = next(p for name, p in dump["plugins"].items() if name.endswith(("grpc.v1.cri", "cri.v1.runtime")))
    runtimes = plugin["containerd"]["runtimes"]
    same("and what it had before", (runtimes["runc"]["pod_annotations"], runtimes["runc"]["options"].get("SystemdCgroup")
                                    if text is V3 else plugin["sandbox_image"], len(runtimes)),
         (["a/*", "numastow.io/*"], True if text is V3 else "pause", 2))


with Temp() as folder:
    for part in (check_v3, check_v2, check_base_spec, check_files, check_refused, check_crio, check_containerd):
        part(folder)
finish()
