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
