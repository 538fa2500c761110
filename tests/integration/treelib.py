# SPDX-License-Identifier: Apache-2.0
"""Files of a tree that a command reads with --sysroot. Paths in it begin with "/"."""
import os


def read(tree, path):
    with open(tree + path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write(tree, path, text):
    """Write a file, and make its folders. `text` may be bytes."""
    os.makedirs(os.path.dirname(tree + path), exist_ok=True)
    with open(tree + path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def firmware_digest(tree):
    """Return what `numastow measure --save` stores of the firmware: the 128-bit FNV-1a (base/digest.h) of its version and
    tables."""
    def text(data):
        return len(data).to_bytes(8, "little") + data
    version = "/sys/class/dmi/id/bios_version"
    data = text(b"firmware tables") + text(read(tree, version).rstrip("\n").encode() if os.path.exists(tree + version) else b"")
    for table in ("SRAT", "SLIT", "HMAT"):
        content, path = b"", f"{tree}/sys/firmware/acpi/tables/{table}"
        if os.path.exists(path):
            with open(path, "rb") as file:
                content = file.read().removesuffix(b"\n")  # as kernel files are read; a distance of 10 is one
        data += len(content).to_bytes(8, "little") + b"".join(bytes([b]) + bytes(7) for b in content)
    value = 0x6c62272e07bb014262b821756295c58d
    for byte in data:
        value = (value ^ byte) * 0x0000000001000000000000000000013b % 2**128
    return f"{value:032x}"
