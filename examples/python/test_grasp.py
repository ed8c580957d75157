"""Every call of grasp and graspi, between the ASAs of one process. Run by python_linux_test.go."""

import ipaddress
import os
import signal
import socket
import threading
import time
import unittest
import unittest.mock

import cbor2

import grasp
import graspi

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
grasp.skip_dialogue(silent=True)
errors = graspi.errors


def registered(name, obj=None, **options):
    err, asa = graspi.register_asa(name)
    assert err == errors.ok, graspi.etext[err]
    if obj is not None:
        err = graspi.register_obj(asa, obj, **options)
        assert err == errors.ok, graspi.etext[err]
    return asa


def objective(name, value=None, **flags):
    obj = graspi.objective(name)
    obj.value = value
    for flag in flags:
        setattr(obj, flag, flags[flag])
    return obj


class Registration(unittest.TestCase):
    def test_errors(self):
        asa = registered("one", objective("reg", neg=True))
        self.assertEqual(graspi.register_asa("one"), (errors.dupASA, None))
        self.assertEqual(graspi.register_obj(asa, objective("reg", neg=True)), errors.objReg)
        self.assertEqual(graspi.register_obj(asa, objective("x", neg=True, synch=True)), errors.notBoth)
        self.assertEqual(graspi.register_obj(asa, objective("x", dry=True)), errors.notDry)
        self.assertEqual(graspi.register_obj(12345, objective("x")), errors.noASA)
        self.assertEqual(graspi.deregister_obj(asa, objective("reg")), errors.ok)
        self.assertEqual(graspi.deregister_obj(asa, objective("reg")), errors.notObj)
        self.assertTrue(graspi.checkrun(asa, "one"))
        self.assertEqual(graspi.deregister_asa(asa + 1, "one"), errors.notYourASA)
        self.assertEqual(graspi.deregister_asa(asa, "two"), errors.noASA)
        self.assertEqual(graspi.deregister_asa(asa, "one"), errors.ok)
        self.assertFalse(graspi.checkrun(asa, "one"))

    def test_texts(self):
        self.assertEqual(graspi.etext[errors.declined], "Declined")
        self.assertEqual(graspi.etext[errors.sockErr], "Socket error sending gmessage")
        self.assertEqual(graspi.etext[errors.noPeer], "Negotiation peer not listening")
        self.assertEqual(len(graspi.etext), 40)
        self.assertEqual(errors.invalidLoc, 38)


class Negotiation(unittest.TestCase):
    def setUp(self):
        self.obj = objective("money", neg=True, dry=True)
        self.bank = registered("bank", self.obj, overlap=True)
        self.client = registered("client", self.obj, overlap=True)

    def tearDown(self):
        graspi.deregister_asa(self.bank, "bank")
        graspi.deregister_asa(self.client, "client")

    def until_listening(self):
        while not any(r.listening for r in grasp._obj_registry):
            time.sleep(0.001)
        time.sleep(0.01)  # most often it does now: else the request is repeated

    def negotiate(self, value, answer, client=None):
        """What the client gets that asks the bank, which answers in its way."""
        def bank():
            err, session, asked = graspi.listen_negotiate(self.bank, self.obj)
            if err == errors.ok:
                self.asked = asked
                self.source = session.id_source
                answer(session, asked)
        thread = threading.Thread(target=bank)
        thread.start()
        self.until_listening()
        while True:
            got = client() if client else \
                graspi.request_negotiate(self.client, objective("money", value, neg=True), None, 10000)
            if got[0] not in (errors.noPeer, errors.noDiscReply):  # until the bank listens
                thread.join()
                return got

    def test_accept(self):
        def answer(session, asked):
            self.assertEqual(graspi.end_negotiate(self.bank, session, True), errors.ok)
            self.assertEqual(graspi.end_negotiate(self.bank, session, True), errors.noSession)
        err, session, got, reason = self.negotiate(["NZD", 5], answer)
        self.assertEqual((err, session, got.value, reason), (errors.ok, None, ["NZD", 5], None))
        self.assertEqual(self.asked.value, ["NZD", 5])
        self.assertFalse(self.asked.dry)
        self.assertTrue(ipaddress.ip_address(self.source))

    def test_decline(self):
        err, session, got, reason = self.negotiate(
            1, lambda session, asked: graspi.end_negotiate(self.bank, session, False, reason="zu spät: Declined"))
        self.assertEqual((err, session, got, reason), (errors.declined, None, None, "zu spät: Declined"))

    def test_loop_count(self):
        obj = objective("money", 9, neg=True)
        obj.loop_count = 3

        def answer(session, asked):
            self.assertEqual(asked.loop_count, 2)
            err, session, got, _ = graspi.negotiate_step(self.bank, session, asked, 10000)
            self.assertEqual((err, session), (errors.declined, None))

        def client():
            err, session, offer, _ = graspi.request_negotiate(self.client, obj, None, 10000)
            if err == errors.ok:
                self.assertEqual(offer.loop_count, 1)
                self.assertEqual(graspi.negotiate_step(self.client, session, offer, 10000),
                                 (errors.loopExhausted, None, None, None))
                graspi.end_negotiate(self.client, session, False)
            return err, None, None, None
        self.negotiate(None, answer, client)

    def test_values(self):
        """A value that cannot be encoded, or that cbor2 cannot decode, is an error, never an exception."""
        self.assertEqual(graspi.request_negotiate(self.client, objective("money", object(), neg=True), None, 1000),
                         (errors.CBORfail, None, None, None))
        rational = cbor2.CBORTag(30, [1, 0])
        with self.assertRaises(Exception):
            cbor2.loads(cbor2.dumps(rational))
        results = []
        thread = threading.Thread(target=lambda: results.append(graspi.listen_negotiate(self.bank, self.obj)))
        thread.start()
        self.until_listening()
        while not results:  # until the bank listens
            got = graspi.request_negotiate(self.client, objective("money", rational, neg=True), None, 1000)
            self.assertIn(got[0], (errors.noPeer, errors.noDiscReply))
        thread.join()
        self.assertEqual(results, [(errors.CBORfail, None, None)])

    def test_locator_of_no_kind(self):
        nowhere = graspi.asa_locator("nowhere", 0, False)
        self.assertEqual(graspi.request_negotiate(self.client, objective("money", 1, neg=True), nowhere, 1000),
                         (errors.invalidLoc, None, None, None))
        self.assertEqual(graspi.synchronize(self.client, objective("text", synch=True), nowhere, 1000),
                         (errors.invalidLoc, None))

    def test_steps(self):
        def answer(session, asked):
            self.assertEqual(graspi.negotiate_wait(self.bank, session, 30000), errors.ok)
            asked.value = 3
            err, session, got, _ = graspi.negotiate_step(self.bank, session, asked, 10000)
            self.assertEqual((err, got.value), (errors.ok, 2))
            self.assertEqual(graspi.end_negotiate(self.bank, session, True), errors.ok)

        def client():
            err, session, offer, _ = graspi.request_negotiate(self.client, objective("money", 9, neg=True), None, 10000)
            if err == errors.ok:
                offer.value = 2
                return graspi.negotiate_step(self.client, session, offer, 10000)
            return err, None, None, None
        err, session, got, _ = self.negotiate(None, answer, client)
        self.assertEqual((err, session, got.value), (errors.ok, None, 2))

    def test_encoded(self):
        raw = cbor2.dumps({"a": 1})
        self.negotiate(raw, lambda session, asked: graspi.end_negotiate(self.bank, session, True))
        self.assertEqual(self.asked.value, raw, "Tag 24 comes back as encoded CBOR")
        self.negotiate(b"\xff\x00", lambda session, asked: graspi.end_negotiate(self.bank, session, True))
        self.assertEqual(self.asked.value, b"\xff\x00", "other bytes are bytes")

    def test_invalid(self):
        err, _, _, _ = self.negotiate(1, lambda session, asked: graspi.send_invalid(self.bank, session))
        self.assertEqual(err, errors.noValidStep)

    def test_nobody(self):
        obj = objective("nobody", neg=True)
        graspi.register_obj(self.client, obj)
        self.assertEqual(grasp.req_negotiate(self.client, obj, None, 1000), (errors.noDiscReply, None, None))
        self.assertEqual(grasp.negotiate_step(self.client, None, obj, 1000), (errors.noSession, None, None))

    def test_stop(self):
        results = []
        thread = threading.Thread(target=lambda: results.append(graspi.listen_negotiate(self.bank, self.obj)))
        thread.start()
        while not results:
            graspi.stop_negotiate(self.bank, self.obj)
            time.sleep(0.01)
        thread.join()
        self.assertNotEqual(results[0][0], errors.ok)

    def test_ctrl_c(self):
        """Ctrl-C ends what waits in the main thread, and the next call works."""
        def interrupt():
            self.until_listening()
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            graspi.listen_negotiate(self.bank, self.obj)
        thread.join()
        self.assertEqual(graspi.listen_negotiate(self.bank, objective("unknown", neg=True))[0], errors.notYourObj)

    def test_send_and_receive(self):
        def server():
            err, session, asked = grasp.listen_negotiate(self.bank, self.obj)
            err, text = grasp.grecv(self.bank, session, 10000)
            grasp.gsend(self.bank, session, [text, asked.value])
        thread = threading.Thread(target=server)
        thread.start()
        self.until_listening()
        while True:
            obj = objective("money", 1, neg=True)
            err, session, _ = grasp.req_negotiate(self.client, obj, None, 10000, noloop=True)
            if err == errors.noReply:
                grasp.gsend(self.client, session, "hello")
                err, got = grasp.grecv(self.client, session, 10000)
                if err == errors.ok:
                    break
        thread.join()
        self.assertEqual(got, ["hello", 1])


class Sharing(unittest.TestCase):
    def test_synchronize(self):
        obj = objective("text", "hello", synch=True)
        server, client = registered("server", obj), registered("reader")
        self.assertEqual(graspi.listen_synchronize(server, obj), errors.ok)
        obj.value = "changed"  # has no effect
        err, got = graspi.synchronize(client, objective("text", synch=True), None, 10000)
        self.assertEqual((err, got.value, got.synch), (errors.ok, "hello", True))
        self.assertEqual(graspi.stop_synchronize(server, obj), errors.ok)
        self.assertEqual(graspi.synchronize(client, objective("text"), None, 0), (errors.notSynch, None))
        obj = objective("text", synch=True)
        self.assertEqual(graspi.synchronize(client, obj, None, 700), (errors.notFloodDisc, None))
        graspi.deregister_asa(server, "server")
        graspi.deregister_asa(client, "reader")

    def test_flood(self):
        obj = objective("news", [1, 2], synch=True)
        asa = registered("reporter", obj)
        loc = graspi.asa_locator(ipaddress.IPv6Address("2001:db8::1"), 0, False)
        loc.is_ipaddress, loc.port = True, 99
        self.assertEqual(graspi.flood(asa, 60000, [graspi.tagged_objective(obj, None),
                                                   graspi.tagged_objective(obj, loc)]), errors.ok)
        self.assertEqual(grasp.flood(asa, 60000, graspi.tagged_objective(obj, None)), errors.ok)
        err, floods = graspi.get_flood(asa, obj)
        self.assertEqual((err, len(floods)), (errors.ok, 2))
        by_port = {f.source.locator: f for f in floods}
        self.assertIn(None, by_port)
        got = by_port[ipaddress.IPv6Address("2001:db8::1")]
        self.assertEqual((got.objective.value, got.source.port), ([1, 2], 99))
        self.assertGreater(got.source.expire, time.monotonic())
        self.assertEqual({f.objective.name for f in grasp._flood_cache}, {"news"})
        self.assertIn("news", [r.objective.name for r in grasp._obj_registry])
        self.assertEqual(graspi.expire_flood(asa, got), errors.ok)
        self.assertEqual(len(graspi.get_flood(asa, obj)[1]), 1)
        self.assertEqual(graspi.flood(asa, 0, [graspi.tagged_objective(objective("other", synch=True), None)]),
                         errors.notYourObj)
        self.assertEqual(graspi.flood(asa, 0, ["nonsense"]), errors.unspec)
        graspi.deregister_asa(asa, "reporter")

    def test_discover(self):
        here = registered("here", objective("found", neg=True), discoverable=True)
        seeker = registered("seeker")
        err, found = graspi.discover(seeker, objective("found"), 1000, flush=True)
        self.assertEqual(err, errors.ok)
        self.assertGreaterEqual(len(found), 1)
        self.assertTrue(found[0].is_ipaddress)
        self.assertEqual(graspi.discover(seeker, objective("lost"), 600), (errors.ok, []))
        graspi.deregister_asa(here, "here")
        # As in the prototype: where it was found nobody listens now.
        graspi.register_obj(seeker, objective("found", neg=True))
        self.assertEqual(graspi.request_negotiate(seeker, objective("found", neg=True), None, 700)[0], errors.noPeer)
        self.assertEqual(graspi.synchronize(seeker, objective("found", synch=True), None, 700)[0], errors.noListener)
        self.assertEqual(graspi.discover(seeker, objective("found"), 600, flush=True), (errors.ok, []))
        self.assertEqual(graspi.synchronize(seeker, objective("found", synch=True), None, 700)[0], errors.notFloodDisc)
        graspi.deregister_asa(seeker, "seeker")


class Diagnosing(unittest.TestCase):
    def test_what_does_not_parse(self):
        """A message that is none is told of, others are not."""
        asa = registered("watcher", objective("watched", synch=True))
        said = threading.Event()
        lines = []

        def tprint(*things, ttp=False):
            lines.append(things)
            if things[0] == "Message parsing error:":
                said.set()
        with unittest.mock.patch.object(grasp, "tprint", tprint), \
                socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            link = socket.if_nametoindex(os.environ["GRASP_LINKS"])
            news = graspi.tagged_objective(objective("watched", 1, synch=True), None)
            self.assertEqual(graspi.flood(asa, 1000, [news]), errors.ok)
            for _ in range(300):  # until the link is in use
                s.sendto(b"this is no CBOR", ("ff02::13", grasp.GRASP_LISTEN_PORT, 0, link))
                if said.wait(0.1):
                    break
        self.assertEqual({things[:2] for things in lines}, {("Message parsing error:", "malformed")})
        graspi.deregister_asa(asa, "watcher")


if __name__ == "__main__":
    unittest.main()
