"""The API of RFC 8991 in the shape of the prototype's module graspi: grasp with the names and results of the RFC."""

import grasp
from grasp import (  # noqa: F401: for those who import this module
    asa_locator, deregister_asa, deregister_obj, discover, dump_all, end_negotiate, errors, etext, expire_flood, flood,
    get_flood, gsend, grecv, init_bubble_text, listen_negotiate, listen_synchronize, negotiate_wait, objective,
    register_asa, register_obj, req_negotiate, send_invalid, skip_dialogue, stop_negotiate, stop_synchronize,
    synchronize, tagged_objective, tprint, ttprint)

register_objective, deregister_objective = register_obj, deregister_obj
stop_listen_negotiate, stop_listen_synchronize = stop_negotiate, stop_synchronize


def request_negotiate(asa_handle, obj, peer, timeout):
    """Like grasp.req_negotiate, and returns an error number, a session, an objective and the reason of a decline, which
    may be empty."""
    return grasp._request(asa_handle, obj, peer, timeout)


def negotiate_step(asa_handle, shandle, obj, timeout):
    """Like grasp.negotiate_step, with the results of request_negotiate."""
    return grasp._step(asa_handle, shandle, obj, timeout)


def checkrun(asa_handle, asa_name):
    """True while the ASA is registered."""
    return grasp._the.names.get(asa_handle) == asa_name


def __getattr__(name):
    return getattr(grasp, name)
