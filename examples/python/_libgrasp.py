"""ctypes binding of libgrasp, the GRASP engine in Go: see grasp.h.

The library is looked for where the environment variable GRASP_LIB says, then
beside this file. GRASP_LINKS names the interfaces to use, separated by commas;
without it all are used. GRASP_PASSWORD is the password of a QUADS domain.
GRASP_DULL_OBJECTIVES has the names, separated by commas, of the objectives that
a DULL instance deals with; without it they are those of the prototype's ASAs.
"""

import ctypes as c
import os
import select
import threading


class Config(c.Structure):
    _fields_ = [("links", c.c_char_p), ("password", c.c_char_p), ("tls_dir", c.c_char_p),
                ("tls_name", c.c_char_p), ("ipv4", c.c_int), ("dull", c.c_int), ("dull_objectives", c.c_char_p),
                ("events", c.c_int)]


class Objective(c.Structure):
    _fields_ = [("name", c.c_char_p), ("neg", c.c_int), ("dry", c.c_int), ("synch", c.c_int),
                ("loop_count", c.c_uint8), ("value", c.c_void_p), ("value_len", c.c_size_t)]


class Locator(c.Structure):
    _fields_ = [("kind", c.c_int), ("text", c.c_char_p), ("protocol", c.c_uint16), ("port", c.c_uint16),
                ("if_index", c.c_uint32), ("diverted", c.c_int), ("expire_ms", c.c_uint32)]


class Tagged(c.Structure):
    _fields_ = [("objective", Objective), ("source", Locator)]


class RegisterOptions(c.Structure):
    _fields_ = [("ttl_ms", c.c_uint32), ("discoverable", c.c_int), ("overlap", c.c_int), ("local", c.c_int),
                ("rapid", c.c_int), ("locators", c.POINTER(Locator)), ("n_locators", c.c_size_t)]


IPV6, IPV4, FQDN, URI = 103, 104, 105, 106
ALL_EVENTS, DROPPED = 15, 8

_P = c.POINTER
_u64, _u32 = c.c_uint64, c.c_uint32
_FUNCTIONS = {
    "open": [_P(Config), _P(_u64)],
    "wait_for_link": [_u64, _u32, _P(_u64)],
    "close": [_u64],
    "register_asa": [_u64, c.c_char_p, _P(_u64)],
    "deregister_asa": [_u64],
    "register_objective": [_u64, _P(Objective), _P(RegisterOptions)],
    "deregister_objective": [_u64, _P(Objective)],
    "discover": [_u64, _P(Objective), _u32, _u32, _P(_P(Locator)), _P(c.c_size_t), _P(_u64)],
    "request_negotiate": [_u64, _P(Objective), _P(Locator), _u32, _P(_u64), _P(Objective), _P(_u64)],
    "listen_negotiate": [_u64, _P(Objective), _P(_u64), _P(Objective), _P(_u64)],
    "stop_listen_negotiate": [_u64, _P(Objective)],
    "negotiate_step": [_u64, _P(Objective), _u32, _P(_u64), _P(Objective), _P(_u64)],
    "negotiate_wait": [_u64, _u32],
    "end_negotiate": [_u64, c.c_int, c.c_char_p],
    "send_invalid": [_u64, c.c_char_p, c.c_size_t],
    "close_session": [_u64],
    "session_peer": [_u64, c.c_char_p, c.c_size_t, c.c_char_p, c.c_size_t],
    "open_session": [_u64, _P(Objective), _P(Locator), _u32, _P(_u64), _P(_u64)],
    "send": [_u64, c.c_char_p, c.c_size_t],
    "recv": [_u64, _u32, _P(c.c_void_p), _P(c.c_size_t), _P(_u64)],
    "synchronize": [_u64, _P(Objective), _P(Locator), _u32, _P(Objective), _P(_u64)],
    "listen_synchronize": [_u64, _P(Objective)],
    "stop_listen_synchronize": [_u64, _P(Objective)],
    "flood": [_u64, _u32, _P(Tagged), c.c_size_t],
    "get_flood": [_u64, _P(Objective), _P(_P(Tagged)), _P(c.c_size_t)],
    "expire_flood": [_u64, _P(Tagged)],
    "snapshot": [_u64, _P(c.c_void_p)],
    "next_event": [_u64, _u32, _P(c.c_void_p), _P(_u64)],
    "op_fd": [_u64, _P(c.c_int)],
    "op_cancel": [_P(_u64)],
}
_RELEASES = {
    "objective_release": [_P(Objective)],
    "locators_release": [_P(Locator), c.c_size_t],
    "floods_release": [_P(Tagged), c.c_size_t],
    "free": [c.c_void_p],
}


class _Library:
    """The functions of the library, loaded when one is called first."""

    def __init__(self):
        self._lib = None
        self._lock = threading.Lock()

    def __getattr__(self, name):
        with self._lock:
            if self._lib is None:
                here = os.path.dirname(os.path.abspath(__file__))
                path = os.environ.get("GRASP_LIB", os.path.join(here, "libgrasp.so"))
                try:
                    lib = c.CDLL(path)
                except OSError as e:
                    raise ImportError(
                        "cannot load %s (%s): build it with 'go build -buildmode=c-shared -o %s "
                        "./examples/libgrasp', or set GRASP_LIB" % (path, e, path)) from e
                for n, args in _FUNCTIONS.items():
                    f = getattr(lib, "grasp_" + n)
                    f.argtypes, f.restype = args, c.c_int
                for n, args in _RELEASES.items():
                    f = getattr(lib, "grasp_" + n)
                    f.argtypes, f.restype = args, None
                lib.grasp_strerror.argtypes, lib.grasp_strerror.restype = [c.c_int], c.c_char_p
                lib.grasp_last_error.argtypes, lib.grasp_last_error.restype = [], c.c_char_p
                self._lib = lib
        return getattr(self._lib, "grasp_" + name)


lib = _Library()


def blocking(name, *args):
    """Calls a function that may block, with all its arguments but op. In the main thread Python handles signals
    meanwhile, so that Ctrl-C ends it."""
    function = getattr(lib, name)
    if threading.current_thread() is not threading.main_thread():
        return function(*args, None)
    op, fd, answers = _u64(), c.c_int(), select.poll()
    status = function(*args, c.byref(op))
    try:
        if op.value:
            lib.op_fd(op, c.byref(fd))
            answers.register(fd.value, select.POLLIN)
        while op.value:
            answers.poll()
            status = function(*args, c.byref(op))
        return status
    finally:
        if op.value:
            lib.op_cancel(c.byref(op))


def last_error():
    """What went wrong in this thread's last call."""
    return lib.last_error().decode("utf-8", "replace")
