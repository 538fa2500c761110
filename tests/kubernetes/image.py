# SPDX-License-Identifier: Apache-2.0
"""An image of programs of this machine, with the libraries that they need, as "podman save" writes it: what deploy/Containerfile
makes, without a registry."""
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile


def libraries(program):
    text = subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
    return set(re.findall(r"(?:=> |^\s*)(/\S+) \(", text, re.M))


def put(tar, name, path):
    """Add a file as `name`, with its contents even if `path` is a symbolic link."""
    real = os.path.realpath(path)
    entry = tar.gettarinfo(real, name.lstrip("/"))
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    with open(real, "rb") as handle:
        tar.addfile(entry, handle)


def data_of(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def write_image(path, names, programs, links=()):
    """Write an image with these names. `programs`: {path in the image: path here}; `links`: (path, target)."""
    layer = f"{path}.layer"
    files = dict(programs)
    for program in programs.values():
        files.update({library: library for library in libraries(program)})
    with tarfile.open(layer, mode="w") as tar:
        for folder in sorted({f"{part}/" for at in files for part in (
                os.path.dirname(at[:i]) for i in range(2, len(at) + 1)) if part.strip("/")}):
            entry = tarfile.TarInfo(folder.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for at, source in sorted(files.items()):
            put(tar, at, source)
        for at, target in links:
            entry = tarfile.TarInfo(at.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    with open(layer, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    config = {"architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
              "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    manifest = [{"Config": "config.json", "RepoTags": list(names), "Layers": ["layer.tar"]}]
    with tarfile.open(path, mode="w") as tar:
        data_of(tar, "config.json", json.dumps(config).encode())
        tar.add(layer, "layer.tar")
        data_of(tar, "manifest.json", json.dumps(manifest).encode())
    os.unlink(layer)
