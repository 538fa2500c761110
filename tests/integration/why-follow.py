#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""numastow why --since and --follow: events since a time; new ones as they come, also of a ledger that is made or replaced
later; the end by a signal, and when the reader of its output has gone."""
import json
import os
import selectors
import signal
import subprocess
import time

from harness import BUILD, PATIENCE, Machine, Temp, again, check, finish, hook, run, same

NUMASTOW = os.path.join(BUILD, "numastow")


class Follower:
    """numastow why --follow, whose output is read in pieces."""

    def __init__(self, machine, *words):
        self.child = subprocess.Popen([NUMASTOW, "why", "--follow", "--sysroot", machine.path, *words], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.text = ""

    def until(self, good):
        """Reads until what was printed is good; returns whether it is."""
        end = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            while not good(self.text) and time.monotonic() < end:
                if selector.select(timeout=1):
                    piece = os.read(self.child.stdout.fileno(), 65536)
                    if not piece:
                        break
                    self.text += piece.decode()
        return good(self.text)

    def objects(self):
        found, at, decoder = [], 0, json.JSONDecoder()
        while self.text[at:].strip():
            try:
                one, end = decoder.raw_decode(self.text[at:].lstrip())
            except ValueError:
                return found
            at += len(self.text[at:]) - len(self.text[at:].lstrip()) + end
            found.append(one)
        return found

    def end(self, number):
        self.child.send_signal(number)
        out, err = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, out.decode(), err.decode()


def start(machine, name, annotations):
    machine.container(name, {f"numastow.io/{k}": v for k, v in annotations.items()})
    return hook(machine, "apply", machine.state(name)).code


def why(machine, *words):
    return run([NUMASTOW, "why", "--sysroot", machine.path, *words], "")


def check_since(machine):
    check("containers are placed", start(machine, "web", {"cpus": "2"}) == 0 and start(machine, "db", {"cpus": "1"}) == 0)
    ids = [e["id"] for e in json.loads(why(machine, "--json").out)["events"]]
    same("since an hour ago: all", [e["id"] for e in json.loads(why(machine, "--json", "--since", "1h ago").out)["events"]], ids)
    same("in short", why(machine, "-S", "-1h").out, why(machine).out)
    # It is later than the events by then.
    time.sleep(1.1)
    same("since now: nothing", json.loads(why(machine, "--json", "--since", "now").out)["events"], [])
    same("of one container", [e["id"] for e in json.loads(why(machine, "--json", "--since", "yesterday", "db").out)["events"]], ["db"])
    done = why(machine, "--since", "now", "nosuch")
    check("an unknown container is an error", done.code == 1 and "nosuch" in done.err, done)
    for wrong in ("tomorrow", "2026-02-30", ""):
        done = why(machine, "--since", wrong)
        check(f"--since {wrong!r} is wrong usage", done.code == 2 and not done.out and "expected a time" in done.err, done)
    machine.container("many", {"numastow.io/cpus": "99"})
    for _ in range(101):
        hook(machine, "apply", machine.state("many"))
    same("without --since: the newest 100", len(json.loads(why(machine, "--json").out)["events"]), 100)
    check("with it: all", len(json.loads(why(machine, "--json", "--since", "today").out)["events"]) >= 103 or
          time.localtime().tm_hour == 0)


def check_follow(machine):
    text, one, data = Follower(machine), Follower(machine, "late"), Follower(machine, "--json", "--since", "now")
    # "late" is not known yet.
    code = one.child.wait(timeout=PATIENCE)
    check("an unknown container cannot be followed", code == 1 and b"late" in one.child.stderr.read(), code)
    check("what is there is printed first", text.until(lambda t: "refused" in t and t.endswith("\n")), text.text)
    check("in JSON, an object with no event", data.until(lambda t: data.objects() != []), data.text)
    same("which has none", data.objects()[0]["events"], [])
    before = len(text.text)
    check("another container starts", start(machine, "late", {"cpus": "1"}) == 0)
    check("its event is printed", text.until(lambda t: "late" in t[before:]), text.text[before:])
    check("and as an object", data.until(lambda t: len(data.objects()) == 2), data.text)
    same("with this event alone", [(e["id"], e["event"]) for e in data.objects()[1]["events"]], [("late", "placed")])

    one = Follower(machine, "late")
    check("a container by its id: what is known of it", one.until(lambda t: "placed" in t), one.text)
    check("others start", start(machine, "other", {"cpus": "1"}) == 0)
    machine.container("late2", {"numastow.io/cpus": "99"})
    hook(machine, "apply", machine.state("late2"))
    check("their events are printed elsewhere", data.until(lambda t: "late2" in t), data.text)
    state = machine.state("late")
    machine.end("late")
    hook(machine, "release", state)
    check("then its own", one.until(lambda t: "released" in t), one.text)
    check("and no other's", "other" not in one.text and "late2" not in one.text, one.text)

    for what, follower, number in (("SIGINT", text, signal.SIGINT), ("SIGTERM", data, signal.SIGTERM)):
        code, _, err = follower.end(number)
        same(f"{what} ends it, in silence", (code, err), (-number, ""))
    one.child.stdout.close()
    same("when its reader has gone, it ends", one.child.wait(timeout=PATIENCE), -signal.SIGPIPE)
    same("in silence", one.child.stderr.read(), b"")


def check_new_ledgers(machine):
    follower = Follower(machine)
    check("a ledger that is made later", start(machine, "first", {"cpus": "1"}) == 0)
    check("is read", follower.until(lambda t: "first" in t), follower.text)
    for name in os.listdir(machine.file("/run/numastow")):
        if name.startswith("ledger.db") or name == "applied":
            os.rename(machine.file(f"/run/numastow/{name}"), machine.file(f"/run/numastow/old-{name}"))
    check("a ledger that replaces it", start(machine, "second", {"cpus": "1"}) == 0)
    check("is read, too", follower.until(lambda t: "second" in t), follower.text)
    same("it ends by a signal", follower.end(signal.SIGINT)[0], -signal.SIGINT)


def check_again(machine):
    """--watch and --quiet of what else reads the ledger."""
    check("one CPU is taken", start(machine, "a", {"cpus": "1"}) == 0)
    where = ["--sysroot", machine.path]
    again("ledger", [NUMASTOW, "ledger", *where], lambda: start(machine, "later", {"cpus": "1"}), "later")
    again("ledger --json", [NUMASTOW, "ledger", "--json", *where], lambda: start(machine, "last", {"cpus": "1"}), '"last"')
    again("explain", [NUMASTOW, "explain", "--nodes-only", *where, "cpus=1"], lambda: start(machine, "much", {"cpus": "1"}), "1\n")
    again("drains", [NUMASTOW, "drains", "--json"], lambda: None, "}")
    done = run([NUMASTOW, "explain", *where, "--quiet", "cpus=99"], "")
    same("explain --quiet: no room", (done.code, done.out, done.err), (3, "", ""))
    done = why(machine, "-q", "later")
    same("why --quiet", (done.code, done.out, done.err), (0, "", ""))
    done = why(machine, "-q", "nosuch")
    check("why --quiet: an unknown id", done.code == 1 and not done.out and "nosuch" in done.err, done)


def main():
    with Temp() as temp:
        machine = Machine(f"{temp}/one", nodes=2, cpus=8)
        check_since(machine)
        check_follow(machine)
        check_again(Machine(f"{temp}/three", nodes=2, cpus=8))
        check_new_ledgers(Machine(f"{temp}/two", nodes=2, cpus=8))
    finish()


if __name__ == "__main__":
    main()
