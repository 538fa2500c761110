# SPDX-License-Identifier: Apache-2.0
"""The schemas of docs/schemas, for tests that validate what commands print."""
import glob
import json
import os
import warnings

from jsonschema import Draft202012Validator, RefResolver

from harness import PROJECT, check

SCHEMAS = os.path.join(PROJECT, "docs/schemas")


def load():
    schemas = {}
    for path in sorted(glob.glob(f"{SCHEMAS}/*.json")):
        with open(path, encoding="utf-8") as handle:
            schemas[os.path.basename(path)[:-len(".json")]] = json.load(handle)
    return schemas


ALL = load()
STORE = {f"file://{SCHEMAS}/{name}.json": schema for name, schema in ALL.items()}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer releases have another name for it
    VALIDATORS = {name: Draft202012Validator(schema, resolver=RefResolver(f"file://{SCHEMAS}/{name}.json", schema, store=STORE))
                  for name, schema in ALL.items() if name not in ("common", "messages")}


def valid(name, what, text, lines=False):
    """Check that a text is JSON that the schema accepts; with `lines`, one object per line. Return the last object."""
    document = None
    for part in text.splitlines() if lines else [text]:
        try:
            document = json.loads(part)
        except ValueError as error:
            check(f"{what}: JSON", False, f"{error}: {part[:200]}")
            return None
        wrong = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in VALIDATORS[name].iter_errors(document)]
        check(f"{what}: as docs/schemas/{name}.json has it", not wrong, wrong[:5])
    return document
