"""GRASP for ASAs written for the Python prototype, on the engine in Go.

The names, classes, defaults, error numbers and texts are those of the
prototype's module grasp; the engine is libgrasp: see _libgrasp.py for where it
is looked for. Values are encoded and decoded with cbor2.

Functions return an error number (errors.ok is 0; etext has the texts), alone or
first in a tuple whose other members are None if it is not 0. They raise no
exception for what a peer or the network does. register_asa starts the engine,
and raises RuntimeError if that fails, ImportError if there is no library.
Timeouts and lifetimes are in milliseconds; None and 0 mean the default, 60,000
unless something else is said. Any thread may call any function. What waits in
the main thread is ended by Ctrl-C; what waits in another by deregister_asa, or
stop_negotiate.

What differs from the prototype is in docs/embedding.md.
"""

import atexit as _atexit
import base64 as _base64
import copy as _copy
import ctypes as _c
import functools as _functools
import io as _io
import ipaddress
import json as _json
import os as _os
import random as _random
import sys as _sys
import threading as _threading
import time as _time

import cbor2 as _cbor

import _libgrasp as _l

GRASP_LISTEN_PORT = 7017
GRASP_DEF_TIMEOUT = 60000
GRASP_DEF_LOOPCT = 6
GRASP_DEF_MAX_SIZE = 2048
O_IPv6_LOCATOR, O_IPv4_LOCATOR, O_FQDN_LOCATOR, O_URI_LOCATOR = 103, 104, 105, 106

test_mode = False
_test_divert = _make_badmess = False  # the prototype's own tests set them; they do nothing here
_prng = _random.SystemRandom()
_unspec_address = ipaddress.IPv6Address("::")


# Errors

class _errors:
    """The error numbers by name."""

    _names = ("ok declined noReply unspec ASAfull dupASA noASA notYourASA notBoth notDry notOverlap objFull objReg "
              "notYourObj notObj notNeg noSecurity noDiscReply sockErrNegRq noSession noSocket loopExhausted "
              "sockErrNegStep noPeer CBORfail invalidNeg invalidEnd noNegReply noValidStep sockErrWait sockErrEnd "
              "IDclash notSynch notFloodDisc sockErrSynRq noListener noSynchReply noValidSynch invalidLoc "
              "sockErr").split()

    def __init__(self):
        for number, name in enumerate(self._names):
            setattr(self, name, number)


errors = _errors()

# Texts that differ from those of RFC 8991, which the engine has.
_texts = {23: "Negotiation peer not listening", 35: "Synchronization peer not listening"}


class _etext:
    """The texts of the errors: etext[n]."""

    def __len__(self):
        return len(_errors._names)

    def __getitem__(self, n):
        if not -len(self) <= n < 256:
            raise IndexError(n)
        n %= max(len(self), n + 1)
        return _texts.get(n) or _l.lib.strerror(n).decode()


etext = _etext()

# Codes of the engine that the prototype does not have.
_CODES = {40: errors.unspec, 41: errors.unspec, 42: errors.noASA, 43: errors.sockErrNegRq}


def _code(status):
    if status:
        ttprint(_l.last_error())
    return _CODES.get(status, status)


class _BadLocator(ValueError):
    """A locator of no kind."""


class _BadValue(ValueError):
    """A value that cannot be encoded or decoded."""


def _answers(*nothing):
    """Makes a function return an error number, with nothing else, where it would raise one of these."""
    def decorate(f):
        @_functools.wraps(f)
        def call(*args, **kwargs):
            try:
                return f(*args, **kwargs)
            except _BadLocator:
                code = errors.invalidLoc
            except _BadValue:
                code = errors.CBORfail
            return (code, *nothing) if nothing else code
        return call
    return decorate


# Classes

class objective:
    """A GRASP objective (RFC 8991 section 2.3.2.3).

    name: a str; neg, dry, synch: its flags; loop_count: up to 255, 6 at first; value: None or anything that cbor2
    encodes. A value of bytes that are one CBOR item is sent as embedded CBOR (Tag 24), which comes out as bytes.
    discoverable: not used."""

    def __init__(self, name):
        self.name = name
        self.neg = False
        self.dry = False
        self.synch = False
        self.discoverable = True
        self.loop_count = GRASP_DEF_LOOPCT
        self.value = None

    def __repr__(self):
        flags = [f for f in ("neg", "dry", "synch") if getattr(self, f)]
        return "<objective %s %s loop_count=%s value=%r>" % (self.name, ",".join(flags), self.loop_count, self.value)


class asa_locator:
    """The locator of an ASA (RFC 8991 section 2.3.2.4).

    locator: an ipaddress.IPv6Address or IPv4Address (is_ipaddress), or a str (is_fqdn or is_uri); ifi: the index of the
    link by which it was learned; diverted: it came in a Divert; protocol: 6 TCP, 17 UDP; port; expire: the second of
    time.monotonic() at which it expires, 0 for never."""

    def __init__(self, locator, ifi, diverted):
        self.locator = locator
        self.ifi = ifi
        self.diverted = diverted
        self.protocol = 6
        self.port = GRASP_LISTEN_PORT
        self.expire = 0
        self.is_ipaddress = False
        self.is_fqdn = False
        self.is_uri = False

    def __repr__(self):
        return "<asa_locator %s port=%s protocol=%s ifi=%s>" % (self.locator, self.port, self.protocol, self.ifi)


class tagged_objective:
    """An objective with the locator of its source, or None (RFC 8991 section 2.3.2.5)."""

    def __init__(self, objective, source):
        self.objective = objective
        self.source = source


class _asa_handle(int):
    """What register_asa returns."""


class _session_handle:
    """A negotiation session. id_source is the packed address of the peer."""

    def __init__(self, handle):
        peer = _c.create_string_buffer(128)
        _l.lib.session_peer(handle, peer, len(peer), None, 0)
        text = peer.value.decode()
        self.id_value = handle
        self.id_source = None
        if text.startswith("["):
            self.id_source = ipaddress.IPv6Address(text[1:text.index("]")].split("%")[0]).packed
        elif text:
            self.id_source = ipaddress.IPv4Address(text.rsplit(":", 1)[0]).packed


# Values between Python and C

def _out(obj):
    """An objective for C. It keeps alive what C is to read."""
    value = obj.value
    if isinstance(value, (bytes, bytearray)) and _is_item(value):
        value = _cbor.CBORTag(24, bytes(value))  # encoded by the ASA
    raw = _dumps(value)
    out = _l.Objective(name=obj.name.encode(), neg=bool(obj.neg), dry=bool(obj.dry), synch=bool(obj.synch),
                       loop_count=max(0, min(obj.loop_count, 255)),
                       value=_c.cast(_c.c_char_p(raw), _c.c_void_p), value_len=len(raw))
    out.raw = raw
    return out


def _dumps(value):
    """Encodes a value."""
    try:
        return _cbor.dumps(value)
    except Exception as e:
        raise _BadValue(value) from e


def _loads(raw):
    """Decodes a value that came from a peer, on which cbor2 may raise anything."""
    try:
        return _cbor.loads(raw)
    except Exception as e:
        raise _BadValue(raw) from e


def _is_item(raw):
    """True if raw is the encoding of one CBOR item."""
    stream = _io.BytesIO(raw)
    try:
        _cbor.CBORDecoder(stream).decode()
    except Exception:
        return False
    return stream.tell() == len(raw)


def _in(c):
    """An objective that came in, from C's memory."""
    obj = objective(c.name.decode("utf-8", "replace"))
    obj.neg, obj.dry, obj.synch = bool(c.neg), bool(c.dry), bool(c.synch)
    obj.loop_count = c.loop_count
    if c.value:
        obj.value = _loads(_c.string_at(c.value, c.value_len))
        if isinstance(obj.value, _cbor.CBORTag) and obj.value.tag == 24:
            obj.value = obj.value.value
    return obj


def _taken(c):
    """Like _in, and releases C's memory."""
    try:
        return _in(c)
    finally:
        _l.lib.objective_release(_c.byref(c))


def _locator_out(loc):
    """A locator for C, or None if there is none."""
    if loc is None or loc.locator is None:
        return None
    text = str(loc.locator)
    if isinstance(loc.locator, ipaddress.IPv6Address):
        kind = _l.IPV6
        if loc.locator.is_link_local and loc.ifi and "%" not in text:
            text += "%%%d" % loc.ifi
    elif isinstance(loc.locator, ipaddress.IPv4Address):
        kind = _l.IPV4
    elif loc.is_fqdn:
        kind = _l.FQDN
    elif loc.is_uri:
        kind = _l.URI
    else:
        raise _BadLocator(text)
    left = 0
    if loc.expire:
        left = max(1, int((loc.expire - _time.monotonic()) * 1000))
    return _l.Locator(kind=kind, text=text.encode(), protocol=loc.protocol or 0, port=loc.port or 0,
                      if_index=loc.ifi or 0, diverted=bool(loc.diverted), expire_ms=left)


def _locator_in(c):
    """A locator that came in."""
    text = c.text.decode("utf-8", "replace") if c.text else None
    if c.kind in (_l.IPV6, _l.IPV4):
        loc = asa_locator(ipaddress.ip_address(text.split("%")[0]), c.if_index, bool(c.diverted))
        loc.is_ipaddress = True
    else:
        loc = asa_locator(text, c.if_index, bool(c.diverted))
        loc.is_fqdn, loc.is_uri = c.kind == _l.FQDN, c.kind == _l.URI
    loc.protocol, loc.port = c.protocol, c.port
    if c.expire_ms:
        loc.expire = _time.monotonic() + c.expire_ms / 1000
    return loc


def _ms(timeout):
    """A timeout for C: None and 0 are the default."""
    return max(0, min(int(timeout or 0), 0xffffffff))


# The engine

# What a DULL instance deals with.
_DULL = _os.environ.get("GRASP_DULL_OBJECTIVES", "AN_ACP,AN_Proxy,AN_proxy,AN_join_registrar").encode()


class _engine:
    """The one instance of the process."""

    def __init__(self):
        self.lock = _threading.RLock()
        self.handle = None
        self.exiting = False  # guarded by _print_lock
        self.settings = dict.fromkeys(("testing", "diagnosing", "selfing", "be_dull"), "ask")
        self.seeker = None    # with selfing, the ASA that looks for what other ASAs registered
        self.names = {}       # ASA handle to name
        self.registered = []  # of _registered_objective
        self.found = {}       # name of an objective to the end of the life of what discover found

    def start(self):
        with self.lock:
            if self.handle is not None:
                return self.handle
            self.ask()
            links = _os.environ.get("GRASP_LINKS")
            password = _os.environ.get("GRASP_PASSWORD")
            cfg = _l.Config(links=links.encode() if links else None,
                            password=password.encode() if password else None,
                            dull=self.settings["be_dull"], dull_objectives=_DULL if self.settings["be_dull"] else None,
                            events=_l.ALL_EVENTS if test_mode else _l.DROPPED if self.settings["diagnosing"] else 0)
            handle = _c.c_uint64()
            if _l.lib.open(_c.byref(cfg), _c.byref(handle)):
                raise RuntimeError(_l.last_error())
            self.handle = handle.value
            if cfg.events:
                _threading.Thread(target=_tell, args=(self.handle,), name="diagnostics", daemon=True).start()
            if _l.blocking("wait_for_link", handle, 5000):
                tprint("No link is in use yet:", _l.last_error())
            return self.handle

    def ask(self):
        """Asks for the settings that are to be asked for, in the order of the prototype."""
        global test_mode, _silent
        for name, question in _QUESTIONS.items():
            if self.settings.get(name) == "ask":
                self.settings[name] = _yes(question)
        test_mode, _silent = bool(self.settings["testing"]), bool(self.settings.get("silent"))

    def finder(self, asa_handle):
        """The ASA that looks for what an ASA wants to find."""
        if not self.settings["selfing"] or asa_handle not in self.names:
            return asa_handle or 0
        with self.lock:
            if self.seeker is None:
                handle = _c.c_uint64()
                if _l.lib.register_asa(self.start(), b"(selfing)", _c.byref(handle)):
                    raise RuntimeError(_l.last_error())
                self.seeker = handle.value
            return self.seeker

    def snapshot(self):
        with self.lock:
            if self.handle is None:
                return {}
            text = _c.c_void_p()
            if _l.lib.snapshot(self.handle, _c.byref(text)):
                return {}
            try:
                return _json.loads(_c.string_at(text).decode())
            finally:
                _l.lib.free(text)


_the = _engine()


class _registered_objective:
    def __init__(self, asa, obj, discoverable):
        self.objective = _copy.copy(obj)
        self.asa_id = asa
        self.discoverable = discoverable
        self.listening = 0


class _flooded_objective:
    def __init__(self, obj, source):
        self.objective = obj
        self.source = source


def _floods():
    """All that is flooded and lives."""
    out = []
    with _the.lock:
        asa = next(iter(_the.names), None)
    if asa is None:
        return out
    for name in sorted({f["Objective"] for f in _the.snapshot().get("Floods") or []}):
        obj = objective(name)
        obj.synch = True
        _, floods = get_flood(asa, obj)
        out += [_flooded_objective(t.objective, t.source) for t in floods]
    return out


def __getattr__(name):
    """Views of what the prototype's ASAs look at."""
    if name == "_obj_registry":
        with _the.lock:
            return list(_the.registered)
    if name == "_flood_cache":
        return _floods()
    if name == "_my_address":
        address = _the.snapshot().get("Address")
        return ipaddress.ip_address(address) if address else None
    if name == "_session_locator":
        return __getattr__("_my_address") or _unspec_address
    raise AttributeError("module 'grasp' has no attribute '%s'" % name)


# The terminal

_silent = False
_print_lock = _threading.RLock()


def skip_dialogue(testing=False, selfing=False, diagnosing=True, quadsing=True, be_dull=False, silent=False,
                  figging=True):
    """Says how to run, in place of the questions of register_asa, after which it has no effect. "ask" as a setting
    leaves its question in place.

    testing: test mode, in which all messages are printed; selfing: ASAs find what they registered themselves;
    diagnosing: messages that do not parse are printed; be_dull: an insecure DULL instance; silent: nothing is printed.
    quadsing and figging are taken and do nothing."""
    global test_mode, _silent
    with _the.lock:
        if _the.handle is None:
            _the.settings = {"testing": testing, "diagnosing": diagnosing, "selfing": selfing, "be_dull": be_dull,
                             "silent": silent}
            test_mode, _silent = testing is True, silent is True


_QUESTIONS = {
    "testing": "Test mode (many extra diagnostics)?",
    "diagnosing": "Diagnostics for messages that do not parse?",
    "selfing": "May ASAs find what they registered themselves?",
    "be_dull": "DULL mode?",
    "silent": "Run silently?",
}


def _yes(question):
    try:
        return input(question + " Y/N: ").strip().lower().startswith("y")
    except EOFError:
        return False


# Why the engine drops what does not parse.
_UNPARSED = ("malformed", "invalid", "unknown type", "too long", "too deep", "too many items")

_MAX_LINES = 50  # that diagnostics print in a second: peers cause them


def _tell(instance):
    """Prints what happens to messages, until the instance is closed: with diagnosing those that do not parse, in test
    mode all."""
    second, lines = 0, 0
    while True:
        text = _c.c_void_p()
        status = _l.lib.next_event(instance, 0, _c.byref(text), None)
        if status == errors.noReply:
            continue
        if status:
            return
        try:
            e = _json.loads(_c.string_at(text).decode())
        finally:
            _l.lib.free(text)
        unparsed = e["Kind"] == "dropped" and e["Reason"] in _UNPARSED
        if not (test_mode or unparsed):
            continue
        now = int(_time.monotonic())
        second, lines = now, lines + 1 if now == second else 1
        with _print_lock:
            if _the.exiting:
                return
            if lines == _MAX_LINES:
                tprint("Diagnostics of the rest of this second are not printed")
            elif lines < _MAX_LINES:
                if unparsed and _the.settings["diagnosing"]:
                    tprint("Message parsing error:", e["Reason"], "from", e["Peer"], e["Err"])
                else:
                    ttprint(*filter(None, (e["Kind"], e["Reason"], e["Message"], e["Objective"], e["Peer"], e["Err"])),
                            _shown(_base64.b64decode(e["Raw"] or "")))


@_atexit.register
def _exit():
    """Ends what _tell prints: Python must not exit in the middle of it."""
    with _print_lock:
        _the.exiting = True


def _shown(raw):
    """A message as Python shows it, or its bytes if it is none."""
    try:
        return _loads(raw)
    except _BadValue:
        return raw


def tprint(*things, ttp=False):
    """Prints things on a line of their own, after the thread's class and number. Any thread may call it. In test mode
    bytes are printed in hexadecimal."""
    if _silent or (ttp and not test_mode):
        return
    thread = _threading.current_thread()
    if test_mode:
        things = tuple(_in_hex(t) for t in things)
    text = " ".join(str(t) for t in (type(thread).__name__, thread.ident) + things)
    text = "".join(ch if ch.isprintable() or ch in "\t\n" else "\N{REPLACEMENT CHARACTER}" for ch in text)
    with _print_lock:
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "replace").decode(), flush=True)


def _in_hex(thing):
    if isinstance(thing, bytes):
        return thing.hex().encode()
    if isinstance(thing, list):
        return [_in_hex(t) for t in thing]
    return thing


def ttprint(*things):
    """tprint in test mode only."""
    tprint(*things, ttp=True)


def init_bubble_text(cap):
    """The prototype opens a window here. With this engine, `-monitor` of the programs in Go shows bubbles."""


def dump_all(partial=False):
    """Prints what this node knows; partial: objectives and flooded values only."""
    for key, value in _the.snapshot().items():
        if not partial or key in ("Objectives", "Floods"):
            tprint(key + ":", _json.dumps(value))


# Registration

def register_asa(asa_name):
    """Registers an ASA, and starts the engine if it is the first. Returns an error number and a handle for all other
    functions."""
    handle = _c.c_uint64()
    status = _l.lib.register_asa(_the.start(), str(asa_name).encode(), _c.byref(handle))
    if status:
        return _code(status), None
    asa = _asa_handle(handle.value)
    with _the.lock:
        _the.names[asa] = str(asa_name)
    return errors.ok, asa


def deregister_asa(asa_handle, asa_name):
    """Ends an ASA, its objectives, sessions and calls. Returns an error number."""
    with _the.lock:
        if asa_name not in _the.names.values():
            return errors.noASA
        if _the.names.get(asa_handle) != asa_name:
            return errors.notYourASA
        del _the.names[asa_handle]
        _the.registered = [r for r in _the.registered if r.asa_id != asa_handle]
    return _code(_l.lib.deregister_asa(asa_handle))


@_answers()
def register_obj(asa_handle, obj, ttl=None, discoverable=False, overlap=False, local=False, rapid=False, locators=()):
    """Registers an objective for an ASA. Returns an error number.

    ttl: the life of discovery responses, by default 600,000 ms; discoverable: discovery is answered from now on, not
    only while somebody listens; overlap: other ASAs may register it, too; local: only link-local addresses are given;
    rapid: rapid mode is allowed; locators: those to give instead of this node's."""
    out = _out(obj)
    opt = _l.RegisterOptions(ttl_ms=ttl if isinstance(ttl, int) and ttl > 0 else 600000, discoverable=discoverable,
                             overlap=overlap, local=local, rapid=rapid)
    ls = [_locator_out(x) for x in locators]
    if ls:
        opt.locators = (_l.Locator * len(ls))(*ls)
        opt.n_locators = len(ls)
    status = _l.lib.register_objective(asa_handle or 0, _c.byref(out), _c.byref(opt))
    if not status:
        with _the.lock:
            _the.registered.append(_registered_objective(asa_handle, obj, discoverable))
    return _code(status)


@_answers()
def deregister_obj(asa_handle, obj):
    """Ends an ASA's registration of an objective, and its listening for it. Returns an error number."""
    status = _l.lib.deregister_objective(asa_handle or 0, _c.byref(_out(obj)))
    if not status:
        with _the.lock:
            _the.registered = [r for r in _the.registered
                               if r.asa_id != asa_handle or r.objective.name != obj.name]
    return _code(status)


def _listens(asa_handle, obj, change):
    with _the.lock:
        for r in _the.registered:
            if r.asa_id == asa_handle and r.objective.name == obj.name:
                r.listening += change


# Discovery

@_answers([])
def discover(asa_handle, obj, timeout, flush=False, minimum_TTL=-1, relay_ifi=False, relay_shandle=None):
    """Returns an error number and a list of asa_locator: what is known of an objective, else what is found until the
    timeout, which is at least 100 ms times the loop count. flush, and a minimum_TTL of 0, forget what is known; a
    minimum_TTL forgets what lives no longer than so many ms. The last two parameters do nothing."""
    if flush or minimum_TTL == 0:
        minimum_TTL = 0xffffffff  # forgets all that is known
    found, n = _c.POINTER(_l.Locator)(), _c.c_size_t()
    timeout = _ms(timeout)
    if timeout:
        timeout = max(timeout, 100 * (obj.loop_count or GRASP_DEF_LOOPCT))
    out = _out(obj)
    status = _l.blocking("discover", _the.finder(asa_handle), _c.byref(out), timeout, max(0, minimum_TTL),
                         _c.byref(found), _c.byref(n))
    if status:
        return _code(status), []
    try:
        locators = [_locator_in(found[i]) for i in range(n.value)]
    finally:
        _l.lib.locators_release(found, n)
    with _the.lock:
        _the.found[obj.name] = max((x.expire or float("inf") for x in locators), default=0)
    return errors.ok, locators


def _none_found(status, none, nobody, obj, peer):
    """The status of a request. If nobody is found now who was before, the prototype asks there, and nobody listens."""
    if status == none and peer is None and _the.found.get(obj.name, 0) > _time.monotonic():
        return nobody
    return status


# Negotiation

def _outcome(status, handle, answer):
    """The results of a call that negotiates, with a reason at the end."""
    if status == errors.declined:
        text, _, reason = _l.last_error().partition(": Declined")
        return errors.declined, None, None, reason[2:]
    if status:
        return _code(status), None, None, None
    try:
        obj = _taken(answer)
    except _BadValue:
        if handle.value:
            _l.lib.close_session(handle)
        raise
    if not handle.value:
        return errors.ok, None, obj, None
    obj.loop_count = max(0, obj.loop_count - 1)  # the prototype counts down when it receives
    return errors.ok, _session_handle(handle.value), obj, None


@_answers(None, None, None)
def _request(asa_handle, obj, peer, timeout):
    loc = _locator_out(peer)
    handle, answer = _c.c_uint64(), _l.Objective()
    out = _out(obj)
    status = _l.blocking("request_negotiate", asa_handle or 0, _c.byref(out), _c.byref(loc) if loc else None,
                         _ms(timeout), _c.byref(handle), _c.byref(answer))
    return _outcome(_none_found(status, errors.noDiscReply, errors.noPeer, obj, loc), handle, answer)


@_answers(None, None, None)
def _step(asa_handle, shandle, obj, timeout):
    if shandle is None:
        return errors.noSession, None, None, None
    if asa_handle not in _the.names:
        return errors.noASA, None, None, None
    out = _out(obj)
    out.loop_count = min(255, obj.loop_count + 1)  # what was received
    if obj.loop_count < 2:  # one earlier than the engine, as in the prototype
        return errors.loopExhausted, None, None, None
    handle, answer = _c.c_uint64(), _l.Objective()
    status = _l.blocking("negotiate_step", shandle.id_value, _c.byref(out), _ms(timeout), _c.byref(handle),
                         _c.byref(answer))
    return _outcome(status, handle, answer)


def _three(err, session, obj, reason):
    """The results of module grasp: a decline gives its reason in place of an objective."""
    if err == errors.declined:
        return err, None, reason or None
    return err, session, obj


@_answers(None, None)
def req_negotiate(asa_handle, obj, peer, timeout, noloop=False):
    """Asks a peer, an asa_locator, to negotiate; None: one is discovered. Returns an error number, a session and an
    objective. Without a session the peer accepted. If the error is errors.declined, the reason, a str or None, comes
    in place of the objective.

    noloop: returns errors.noReply and a session for gsend and grecv, without waiting for an answer."""
    if not noloop:
        return _three(*_request(asa_handle, obj, peer, timeout))
    loc = _locator_out(peer)
    handle = _c.c_uint64()
    out = _out(obj)
    status = _l.blocking("open_session", asa_handle or 0, _c.byref(out), _c.byref(loc) if loc else None,
                         _ms(timeout), _c.byref(handle))
    if status:
        return _code(_none_found(status, errors.noDiscReply, errors.noPeer, obj, loc)), None, None
    return errors.noReply, _session_handle(handle.value), None


def negotiate_step(asa_handle, shandle, obj, timeout):
    """Sends an offer, the objective received last with another value, and returns the answer like req_negotiate.
    errors.loopExhausted: nothing was sent, and the session lives until end_negotiate."""
    return _three(*_step(asa_handle, shandle, obj, timeout))


def negotiate_wait(asa_handle, shandle, timeout):
    """Asks the peer to wait for the next step, so long from now on. Returns an error number."""
    if asa_handle not in _the.names:
        return errors.noASA
    if shandle is None:
        return errors.noSession
    return _code(_l.lib.negotiate_wait(shandle.id_value, _ms(timeout)))


def end_negotiate(asa_handle, shandle, result, reason=None):
    """Accepts the offer (result is True) or declines it, with a reason. Returns an error number."""
    if asa_handle not in _the.names:
        return errors.noASA
    if shandle is None:
        return errors.noSession
    text = None if reason is None else str(reason).encode()
    return _code(_l.lib.end_negotiate(shandle.id_value, bool(result), text))


@_answers()
def send_invalid(asa_handle, shandle, info="No information"):
    """Ends a session with M_INVALID. Returns an error number."""
    if asa_handle not in _the.names:
        return errors.noASA
    if shandle is None:
        return errors.noSession
    raw = _dumps(info)
    return _code(_l.lib.send_invalid(shandle.id_value, raw, len(raw)))


@_answers(None, None)
def listen_negotiate(asa_handle, obj):
    """Waits for a request to negotiate. Returns an error number, a session and the objective asked for."""
    out = _out(obj)
    handle, asked = _c.c_uint64(), _l.Objective()
    _listens(asa_handle, obj, 1)
    try:
        status = _l.blocking("listen_negotiate", asa_handle or 0, _c.byref(out), _c.byref(handle), _c.byref(asked))
    finally:
        _listens(asa_handle, obj, -1)
    return _outcome(status, handle, asked)[:3]


@_answers()
def stop_negotiate(asa_handle, obj):
    """Ends an ASA's calls of listen_negotiate. Returns an error number."""
    return _code(_l.lib.stop_listen_negotiate(asa_handle or 0, _c.byref(_out(obj))))


# Send and receive

@_answers()
def gsend(asa_handle, shandle, message):
    """Sends anything that cbor2 encodes by a session. Returns an error number."""
    if asa_handle not in _the.names:
        return errors.noASA
    if shandle is None:
        return errors.noSession
    raw = _dumps(message)
    return _code(_l.lib.send(shandle.id_value, raw, len(raw)))


@_answers(None)
def grecv(asa_handle, shandle, timeout):
    """Returns an error number and what the peer sent by gsend."""
    if asa_handle not in _the.names:
        return errors.noASA, None
    if shandle is None:
        return errors.noSession, None
    data, n = _c.c_void_p(), _c.c_size_t()
    status = _l.blocking("recv", shandle.id_value, _ms(timeout), _c.byref(data), _c.byref(n))
    if status:
        return _code(status), None
    try:
        return errors.ok, _loads(_c.string_at(data, n.value))
    finally:
        _l.lib.free(data)


# Synchronization and floods

@_answers(None)
def synchronize(asa_handle, obj, loc, timeout):
    """Returns an error number and an objective with the value that a peer, an asa_locator, gives. None: a flooded
    value, else that of a peer that is discovered. The objective need not be registered."""
    peer = _locator_out(loc)
    answer = _l.Objective()
    out = _out(obj)
    status = _l.blocking("synchronize", asa_handle or 0, _c.byref(out), _c.byref(peer) if peer else None,
                         _ms(timeout), _c.byref(answer))
    if status:
        return _code(_none_found(status, errors.notFloodDisc, errors.noListener, obj, peer)), None
    return errors.ok, _taken(answer)


@_answers()
def listen_synchronize(asa_handle, obj):
    """Gives the value of an objective to whoever asks, from now on; called again, another value. Returns an error
    number, at once."""
    status = _l.lib.listen_synchronize(asa_handle or 0, _c.byref(_out(obj)))
    if not status:
        with _the.lock:
            for r in _the.registered:
                if r.asa_id == asa_handle and r.objective.name == obj.name:
                    r.objective, r.listening = _copy.copy(obj), 1
    return _code(status)


@_answers()
def stop_synchronize(asa_handle, obj):
    """Ends what listen_synchronize began. Returns an error number."""
    status = _l.lib.stop_listen_synchronize(asa_handle or 0, _c.byref(_out(obj)))
    if not status:
        _listens(asa_handle, obj, -1)
    return _code(status)


@_answers()
def flood(asa_handle, ttl, *tagged_obj):
    """Floods tagged objectives, given one by one or as a list, with their values, which live for ttl ms; None and 0:
    for ever. Returns an error number."""
    tagged = list(tagged_obj[0]) if len(tagged_obj) == 1 and isinstance(tagged_obj[0], (list, tuple)) \
        else list(tagged_obj)
    keep, out = [], (_l.Tagged * len(tagged))()
    for i, t in enumerate(tagged):
        if not isinstance(t, tagged_objective) and not hasattr(t, "objective"):
            return errors.unspec
        keep.append(_out(t.objective))
        out[i].objective = keep[-1]
        source = _locator_out(t.source)
        if source:
            out[i].source = source
    return _code(_l.lib.flood(asa_handle or 0, _ms(ttl), out, len(tagged)))


@_answers(None)
def get_flood(asa_handle, obj):
    """Returns an error number and a list of the flooded values that live, as tagged_objective."""
    floods, n = _c.POINTER(_l.Tagged)(), _c.c_size_t()
    status = _l.lib.get_flood(asa_handle or 0, _c.byref(_out(obj)), _c.byref(floods), _c.byref(n))
    if status:
        return _code(status), None
    try:
        tagged = []
        for f in floods[:n.value]:
            try:
                tagged.append(tagged_objective(_in(f.objective), _locator_in(f.source)))
            except _BadValue:
                pass  # some other node's mistake, which hides nobody's value
        return errors.ok, tagged
    finally:
        _l.lib.floods_release(floods, n)


@_answers()
def expire_flood(asa_handle, tagged_obj):
    """Forgets a flooded value on this node. Returns an error number."""
    out = _out(tagged_obj.objective)
    flood = _l.Tagged(objective=out)
    source = _locator_out(tagged_obj.source)
    if source:
        flood.source = source
    return _code(_l.lib.expire_flood(asa_handle or 0, _c.byref(flood)))


if __name__ == "__main__":
    _sys.exit("grasp is a module for ASAs to import")
