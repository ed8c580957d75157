"""Drives graspy, the Python prototype of GRASP, on behalf of a Go test.

The checkout must be on PYTHONPATH.

    driver.py call                 answer calls of the module grasp
    driver.py asa FILE ANSWER...   run an ASA as it is, with answers to the
                                   dialogue that graspy begins with
    driver.py suite FILE           run a test suite as it is, to its end

The environment variable GRASPY_PASSWORD has the password of the QUADS domain
that graspy is to be in; without it, it is in none. GRASPY_DNS has the address
and port of the DNS server that ASAs are to use, GRASPY_TYPING the seconds that
each answer takes. With GRASPY_HASTE an ASA makes no pauses
but those of more than fifteen seconds.

Either way the end of standard input ends the process.

Calls come on standard input and results go to standard output, as two
sequences of CBOR items. A call is [id, name, arguments, keyword arguments], a
result [id, true, value] or [id, false, text of the exception]. Each call has
a thread of its own, so that results come in any order. A tuple is given as an
array. What CBOR cannot hold is given, and taken, as a map with the key "_":

    {"_": "objective", "name": ..., "neg": ..., "dry": ..., "synch": ...,
     "loop_count": ..., "discoverable": ..., "value": ...}
    {"_": "locator", "kind": "ip", "fqdn", "uri" or "", "locator": text,
     "protocol": ..., "port": ..., "ifi": ..., "diverted": ..., "expire": ...}
    {"_": "tagged", "objective": ..., "source": a locator or null, "n": number
     or null: the very object that was given with it}
    {"_": "handle", "n": number}     anything else, such as a session

Besides those of the module there are two functions for measuring it, which
spare each negotiation the way of a call: accept_all and negotiate_many.

All that graspy prints goes to standard error.
"""

import builtins
import getpass
import io
import ipaddress
import os
import runpy
import sys
import threading
import time
import types

# graspy waits for people: for ten seconds to read that there is no tkinter,
# and for ever to type a password, unless it finds a file of keys that says
# there is none. The real ones are of no use here.
password = os.environ.get("GRASPY_PASSWORD")
modules = {"tkinter": {"font": None}}
if password:
    getpass.getpass = lambda *prompt: password
    sys.modules["quadsk"] = None  # there is no such file
else:
    modules["quadsk"] = {"key": "No key", "iv": None}
for name, contents in modules.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(contents)

import cbor2  # noqa: E402

# Some agents ask for its predecessor, with which they share what they use.
sys.modules["cbor"] = cbor2


def watch():
    """Ends the process at the end of standard input."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def use_dns(server):
    """Has dnspython ask this server only."""
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    address, port = server.rsplit(":", 1)
    resolver.nameservers, resolver.port = [address], int(port)
    dns.resolver.default_resolver = resolver


class Answers(io.StringIO):
    """Answers to questions, typed by somebody who takes a while."""

    def readline(self, *size):
        time.sleep(float(os.environ.get("GRASPY_TYPING", 0)))
        return super().readline(*size)


def hurry():
    """Has the program that is run, but not the engine below it, sleep long or not at all."""
    awake = types.ModuleType("time")
    awake.__dict__.update(time.__dict__, sleep=lambda seconds: time.sleep(seconds if seconds > 15 else 0))
    importing = builtins.__import__

    def import_awake(name, globals=None, *more):
        if name == "time" and globals and globals.get("__name__") == "__main__" and globals.get("__file__") != __file__:
            return awake
        return importing(name, globals, *more)

    builtins.__import__ = import_awake


def run_asa(path, answers):
    """Runs an ASA that asks its questions on standard input."""
    threading.Thread(target=watch, name="watch", daemon=True).start()
    if "GRASPY_DNS" in os.environ:
        use_dns(os.environ["GRASPY_DNS"])
    if "GRASPY_HASTE" in os.environ:
        hurry()
    sys.stdin = Answers("".join(a + "\n" for a in answers))
    sys.argv = [path]
    runpy.run_path(path, run_name="__main__")


def run_suite(path):
    """Runs a test suite until the threads that it started have ended."""
    threading.Thread(target=watch, name="watch", daemon=True).start()
    started = []
    start = threading.Thread.start

    def note(thread):
        if thread.__class__.__module__ == "suite":
            started.append(thread)
        start(thread)

    threading.Thread.start = note
    runpy.run_path(path, run_name="suite")["ASAtest"]()
    while started:
        started.pop().join()
    print("the suite has ended")
    sys.stdout.flush()
    os._exit(0)


class Translator:
    """Turns values of graspy into plain ones and back."""

    def __init__(self, grasp):
        self.grasp = grasp
        self.lock = threading.Lock()
        self.handles = []

    def take(self, x):
        if isinstance(x, list):
            return [self.take(y) for y in x]
        if not isinstance(x, dict) or "_" not in x:
            return x
        return getattr(self, "take_" + x["_"])(x)

    def take_objective(self, x):
        o = self.grasp.objective(x["name"])
        for field in ("neg", "dry", "synch", "loop_count", "discoverable", "value"):
            setattr(o, field, x[field])
        return o

    def take_locator(self, x):
        at = x["locator"]
        if x["kind"] == "ip":
            at = ipaddress.ip_address(at)
        elif not x["kind"]:
            at = None
        loc = self.grasp.asa_locator(at, x["ifi"], x["diverted"])
        loc.is_ipaddress = x["kind"] == "ip"
        loc.is_fqdn = x["kind"] == "fqdn"
        loc.is_uri = x["kind"] == "uri"
        loc.protocol, loc.port, loc.expire = x["protocol"], x["port"], x["expire"]
        return loc

    def take_tagged(self, x):
        if x["n"] is not None:
            return self.take_handle(x)
        return self.grasp.tagged_objective(self.take(x["objective"]), self.take(x["source"]))

    def take_handle(self, x):
        with self.lock:
            return self.handles[x["n"]]

    def give(self, x):
        if x is None or isinstance(x, (bool, int, float, str, bytes)):
            return x
        if isinstance(x, (list, tuple)):
            return [self.give(y) for y in x]
        if isinstance(x, self.grasp.objective):
            return {
                "_": "objective", "name": x.name, "neg": bool(x.neg), "dry": bool(x.dry),
                "synch": bool(x.synch), "loop_count": x.loop_count, "discoverable": x.discoverable,
                "value": x.value,
            }
        if isinstance(x, self.grasp.asa_locator):
            kind = "ip" if x.is_ipaddress else "fqdn" if x.is_fqdn else "uri" if x.is_uri else ""
            return {
                "_": "locator", "kind": kind, "locator": "" if x.locator is None else str(x.locator),
                "protocol": x.protocol, "port": x.port, "ifi": x.ifi,
                "diverted": bool(x.diverted), "expire": x.expire,
            }
        if isinstance(x, self.grasp.tagged_objective):
            return {
                "_": "tagged", "objective": self.give(x.objective), "source": self.give(x.source),
                "n": self.keep(x),
            }
        if isinstance(x, (dict, cbor2.CBORTag)):
            return x  # from grecv
        return {"_": "handle", "n": self.keep(x)}

    def keep(self, x):
        with self.lock:
            self.handles.append(x)
            return len(self.handles) - 1


class Measure:
    """Has graspy negotiate as fast as it can, in one round accepted at once."""

    def __init__(self, grasp):
        self.grasp = grasp

    def accept_all(self, asa, obj, threads):
        """Accepts whatever is asked for, until the process ends."""

        def accept():
            while True:
                code, session, _ = self.grasp.listen_negotiate(asa, obj)
                if code == 0:
                    self.grasp.end_negotiate(asa, session, True)

        for i in range(threads):
            threading.Thread(target=accept, name=f"accept-{i}", daemon=True).start()
        return 0

    def negotiate_many(self, asa, obj, peer, timeout, n, threads):
        """Negotiates n times, so many at a time.

        Returns how many were agreed, how often there was each code instead,
        and the seconds it took.
        """
        lock = threading.Lock()
        codes = {}
        left = iter(range(n))

        def negotiate():
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                code, session, _ = self.grasp.req_negotiate(asa, obj, peer, timeout)
                if code == 0 and session is not None:
                    code = -1  # it goes on, instead of being accepted
                with lock:
                    codes[code] = codes.get(code, 0) + 1

        all = [threading.Thread(target=negotiate, name=f"ask-{i}") for i in range(threads)]
        start = time.monotonic()
        for t in all:
            t.start()
        for t in all:
            t.join()
        return codes.pop(0, 0), codes, time.monotonic() - start


def serve():
    """Answers calls until the end of standard input."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import grasp

    translator = Translator(grasp)
    measure = Measure(grasp)
    lock = threading.Lock()

    def answer(number, name, args, kwargs):
        try:
            function = getattr(measure, name, None) or getattr(grasp, name)
            result = function(
                *translator.take(args), **{k: translator.take(v) for k, v in kwargs.items()}
            )
            reply = cbor2.dumps([number, True, translator.give(result)])
        except BaseException as e:  # the test decides what it means
            reply = cbor2.dumps([number, False, repr(e)])
        with lock:
            out.write(reply)
            out.flush()

    calls = cbor2.CBORDecoder(os.fdopen(os.dup(0), "rb"))
    while True:
        try:
            call = calls.decode()
        except EOFError:
            os._exit(0)
        # With a name, since graspy cannot print from a thread that has Python's.
        threading.Thread(target=answer, args=call, name="call", daemon=True).start()


if sys.argv[1] == "asa":
    run_asa(sys.argv[2], sys.argv[3:])
elif sys.argv[1] == "suite":
    run_suite(sys.argv[2])
else:
    serve()
