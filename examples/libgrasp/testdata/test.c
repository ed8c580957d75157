/* test.c: every call of grasp.h between two nodes on a link. Usage: test LINK-A LINK-B CALLS */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grasp.h"

#define EXPECT(want, call) \
	do { \
		int got_ = (call); \
		if (got_ != (want)) { \
			fprintf(stderr, "%s:%d: %s: status %d (%s), not %d: %s\n", __FILE__, __LINE__, #call, got_, \
				grasp_strerror(got_), (want), grasp_last_error()); \
			exit(1); \
		} \
	} while (0)
#define OK(call) EXPECT(GRASP_OK, call)
#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			exit(1); \
		} \
	} while (0)

static grasp_instance here, there;
static grasp_asa client, server;
static grasp_objective money = {.name = "example.com:money", .neg = 1, .dry = 1};
static grasp_objective chat = {.name = "example.com:chat", .neg = 1};
static uint8_t ten[] = {10}, five[] = {5}, text[] = {0x65, 'h', 'e', 'l', 'l', 'o'};

/* Answers requests until the listening is stopped: accepts up to 5, offers 5. */
static void *serve(void *unused)
{
	(void)unused;
	for (;;) {
		grasp_session s;
		grasp_objective asked = {0}, answer = {0};
		int status = grasp_listen_negotiate(server, &money, &s, &asked, NULL);
		if (status == GRASP_ID_CLASH)
			continue;
		if (status != GRASP_OK)
			return (void *)(intptr_t)status;
		CHECK(asked.value_len == 1 && strcmp(asked.name, money.name) == 0 && asked.loop_count == 6);
		if (asked.value[0] == 7) {
			OK(grasp_send_invalid(s, text, sizeof text));
		} else if (asked.value[0] > 5) {
			OK(grasp_negotiate_wait(s, 60000));
			grasp_objective offer = asked; /* with another value */
			offer.value = five;
			status = grasp_negotiate_step(s, &offer, 0, &s, &answer, NULL);
			CHECK(status == GRASP_DECLINED || (status == GRASP_OK && s == 0));
			grasp_objective_release(&answer);
		} else {
			OK(grasp_end_negotiate(s, 1, NULL));
		}
		grasp_objective_release(&asked);
	}
}

static void negotiate(void)
{
	grasp_session s = 0;
	grasp_objective offer = {0};
	char peer[64], identity[64];

	money.value = five, money.value_len = 1;
	OK(grasp_request_negotiate(client, &money, NULL, 10000, &s, &offer, NULL));
	CHECK(s == 0 && offer.value_len == 1 && offer.value[0] == 5 && offer.dry);
	grasp_objective_release(&offer);

	money.value = ten, money.dry = 0;
	OK(grasp_request_negotiate(client, &money, NULL, 10000, &s, &offer, NULL));
	CHECK(s != 0 && offer.value[0] == 5 && !offer.dry);
	OK(grasp_session_peer(s, peer, sizeof peer, identity, sizeof identity));
	CHECK(strchr(peer, ':') != NULL && identity[0] == 0);
	OK(grasp_end_negotiate(s, 1, NULL));
	EXPECT(GRASP_NO_SESSION, grasp_end_negotiate(s, 1, NULL));
	grasp_objective_release(&offer);

	uint8_t seven[] = {7};
	money.value = seven;
	EXPECT(GRASP_NO_VALID_STEP, grasp_request_negotiate(client, &money, NULL, 10000, &s, &offer, NULL));
	CHECK(strstr(grasp_last_error(), "hello") != NULL);
	money.value = five, money.dry = 1;
}

/* The polling form: the answer is waited for with poll(2). */
static void poll_for(grasp_op op)
{
	struct pollfd p = {.events = POLLIN};
	OK(grasp_op_fd(op, &p.fd));
	CHECK(poll(&p, 1, 20000) == 1);
}

static void polling(void)
{
	grasp_op op = 0;
	grasp_session s = 0;
	grasp_objective offer = {0};
	grasp_locator *found = NULL;
	size_t n = 0;

	EXPECT(GRASP_NO_REPLY, grasp_request_negotiate(client, &money, NULL, 10000, &s, &offer, &op));
	CHECK(op != 0);
	poll_for(op);
	EXPECT(GRASP_UNSPEC, grasp_discover(client, &money, 0, 0, &found, &n, &op)); /* of another function */
	OK(grasp_request_negotiate(client, &money, NULL, 10000, &s, &offer, &op));
	CHECK(op == 0 && s == 0 && offer.value[0] == 5);
	grasp_objective_release(&offer);

	grasp_objective nobody = {.name = "example.com:nobody"};
	EXPECT(GRASP_NO_REPLY, grasp_discover(client, &nobody, 600000, 0, &found, &n, &op));
	EXPECT(GRASP_NO_REPLY, grasp_discover(client, &nobody, 600000, 0, &found, &n, &op));
	OK(grasp_op_cancel(&op));
	CHECK(op == 0);
	EXPECT(GRASP_UNSPEC, grasp_op_cancel(&op));
}

static void discover(void)
{
	grasp_locator *found = NULL;
	size_t n = 0;
	OK(grasp_discover(client, &money, 0, 0, &found, &n, NULL));
	CHECK(n >= 1 && (found[0].kind == GRASP_IPV6 || found[0].kind == GRASP_IPV4));
	CHECK(found[0].port != 0 && found[0].protocol == 6 && found[0].expire_ms > 0);
	grasp_session s = 0;
	grasp_objective offer = {0};
	OK(grasp_request_negotiate(client, &money, &found[0], 10000, &s, &offer, NULL));
	grasp_objective_release(&offer);
	grasp_locators_release(found, n);
}

static void share(void)
{
	grasp_objective o = {.name = "example.com:text", .synch = 1, .value = text, .value_len = sizeof text};
	grasp_objective got = {0};
	EXPECT(GRASP_NOT_YOUR_OBJ, grasp_listen_synchronize(server, &o));
	OK(grasp_register_objective(server, &o, &(grasp_register_options){.ttl_ms = 30000}));
	OK(grasp_listen_synchronize(server, &o));
	OK(grasp_synchronize(client, &o, NULL, 10000, &got, NULL));
	CHECK(got.value_len == sizeof text && memcmp(got.value, text, sizeof text) == 0);
	grasp_objective_release(&got);
	OK(grasp_stop_listen_synchronize(server, &o));

	grasp_tagged_objective flood = {.objective = o}, *floods = NULL;
	size_t n = 0;
	OK(grasp_flood(server, 60000, &flood, 1));
	for (int i = 0; n == 0 && i < 1000; i++) {
		OK(grasp_get_flood(client, &o, &floods, &n));
		poll(NULL, 0, 10);
	}
	CHECK(n == 1 && memcmp(floods[0].objective.value, text, sizeof text) == 0 && floods[0].source.expire_ms > 0);
	OK(grasp_expire_flood(client, &floods[0]));
	grasp_floods_release(floods, n);
	OK(grasp_get_flood(client, &o, &floods, &n));
	CHECK(n == 0 && floods == NULL);
	OK(grasp_deregister_objective(server, &o));
	EXPECT(GRASP_UNSPEC, grasp_flood(server, 0, NULL, 0));
}

/* A session on which anything goes: an echo. */
static void *echo(void *unused)
{
	grasp_session s;
	uint8_t *item;
	size_t len;
	(void)unused;
	OK(grasp_listen_negotiate(server, &chat, &s, NULL, NULL));
	OK(grasp_recv(s, 20000, &item, &len, NULL));
	OK(grasp_send(s, item, len));
	grasp_free(item);
	EXPECT(GRASP_NO_PEER, grasp_recv(s, 20000, &item, &len, NULL));
	return NULL;
}

static void exchange(void)
{
	pthread_t peer;
	grasp_session s;
	grasp_op op = 0;
	uint8_t *item;
	size_t len;
	OK(grasp_register_objective(client, &chat, NULL));
	OK(grasp_register_objective(server, &chat, &(grasp_register_options){.discoverable = 1}));
	CHECK(pthread_create(&peer, NULL, echo, NULL) == 0);
	int status = GRASP_NO_PEER;
	for (int i = 0; status == GRASP_NO_PEER && i < 1000; i++) { /* until the echo listens */
		OK(grasp_open_session(client, &chat, NULL, 10000, &s, NULL));
		OK(grasp_send(s, text, sizeof text));
		status = grasp_recv(s, 20000, &item, &len, NULL);
	}
	OK(status);
	CHECK(len == sizeof text && memcmp(item, text, len) == 0);
	grasp_free(item);
	EXPECT(GRASP_NO_REPLY, grasp_recv(s, 20000, &item, &len, &op));
	OK(grasp_op_cancel(&op));
	OK(grasp_close_session(s));
	CHECK(pthread_join(peer, NULL) == 0);

	char *json;
	OK(grasp_snapshot(here, &json));
	CHECK(strstr(json, "example.com:chat") != NULL);
	grasp_free(json);
}

/* What happens to messages is told, in order, to whoever asks. */
static void events(void)
{
	char *json;
	grasp_op op = 0;
	int sent = 0, received = 0;

	for (int i = 0; !(sent && received) && i < 10000; i++) { /* the other kinds are not asked for */
		OK(grasp_next_event(here, 20000, &json, NULL));
		CHECK(strstr(json, "\"Kind\":\"dropped\"") == NULL);
		sent |= strstr(json, "\"Kind\":\"sent\",\"Reason\":\"\",\"Message\":\"M_REQ_NEG\"") != NULL;
		received |= strstr(json, "\"Kind\":\"received\",\"Reason\":\"\",\"Message\":\"M_END\"") != NULL;
		grasp_free(json);
	}
	CHECK(sent && received);
	EXPECT(GRASP_UNSPEC, grasp_next_event(there, 1, &json, NULL)); /* no events in its configuration */
	for (int status = GRASP_OK; status != GRASP_NO_REPLY;) { /* take what is left, but for floods to come */
		status = grasp_next_event(here, 1, &json, NULL);
		if (status == GRASP_OK)
			grasp_free(json);
	}
	EXPECT(GRASP_NO_REPLY, grasp_next_event(here, 600000, &json, &op));
	OK(grasp_op_cancel(&op));
}

/* Nonsense gives a status, never a crash. */
static void nonsense(void)
{
	grasp_session s;
	grasp_objective o = {0}, broken = money;
	uint8_t half[] = {0x82, 1};
	grasp_asa asa;
	grasp_op op = 12345;
	char *json;

	EXPECT(GRASP_NO_ASA, grasp_close(7));
	EXPECT(GRASP_NO_ASA, grasp_next_event(7, 0, &json, NULL));
	EXPECT(GRASP_UNSPEC, grasp_next_event(here, 0, NULL, NULL));
	EXPECT(GRASP_NO_ASA, grasp_register_asa(7, "x", &asa));
	EXPECT(GRASP_UNSPEC, grasp_register_asa(here, NULL, &asa));
	EXPECT(GRASP_DUP_ASA, grasp_register_asa(here, "client", &asa));
	EXPECT(GRASP_NO_ASA, grasp_deregister_asa(7));
	EXPECT(GRASP_UNSPEC, grasp_register_objective(client, &o, NULL));
	EXPECT(GRASP_UNSPEC, grasp_register_objective(client, NULL, NULL));
	broken.value = half, broken.value_len = sizeof half;
	EXPECT(GRASP_CBOR_FAIL, grasp_request_negotiate(client, &broken, NULL, 0, &s, &o, NULL));
	EXPECT(GRASP_UNSPEC, grasp_request_negotiate(client, &money, NULL, 0, NULL, &o, NULL));
	EXPECT(GRASP_UNSPEC, grasp_request_negotiate(client, &money, NULL, 0, &s, &o, &op));
	grasp_locator l = {.kind = GRASP_IPV4, .text = "::1"};
	EXPECT(GRASP_INVALID_LOC, grasp_request_negotiate(client, &money, &l, 0, &s, &o, NULL));
	l.kind = 99;
	EXPECT(GRASP_INVALID_LOC, grasp_request_negotiate(client, &money, &l, 0, &s, &o, NULL));
	EXPECT(GRASP_NO_SESSION, grasp_negotiate_step(7, &money, 0, &s, &o, NULL));
	EXPECT(GRASP_NO_SESSION, grasp_negotiate_wait(7, 0));
	CHECK(strcmp(grasp_strerror(GRASP_DECLINED), "Declined") == 0 && grasp_strerror(-1) != NULL);
	grasp_objective_release(NULL);
	grasp_locators_release(NULL, 0);
	grasp_floods_release(NULL, 0);
}

static int calls;

static void *caller(void *unused)
{
	(void)unused;
	for (int i = 0; i < calls; i++) {
		grasp_session s = 1;
		grasp_objective offer = {0};
		OK(grasp_request_negotiate(client, &money, NULL, 0, &s, &offer, NULL));
		CHECK(s == 0 && offer.value[0] == 5);
		grasp_objective_release(&offer);
	}
	return NULL;
}

static void *wait_for_ever(void *op)
{
	grasp_session s;
	grasp_objective o = {0};
	return (void *)(intptr_t)grasp_listen_negotiate(client, &money, &s, &o, op);
}

int main(int argc, char **argv)
{
	enum { THREADS = 16 };
	pthread_t servers[THREADS], callers[THREADS];
	void *result;

	CHECK(argc == 4);
	calls = atoi(argv[3]) / THREADS;
	OK(grasp_open(&(grasp_config){.links = argv[1], .events = GRASP_EVENT_SENT | GRASP_EVENT_RECEIVED}, &here));
	OK(grasp_open(&(grasp_config){.links = argv[2]}, &there));
	OK(grasp_wait_for_link(here, 20000, NULL));
	OK(grasp_wait_for_link(there, 20000, NULL));
	OK(grasp_register_asa(here, "client", &client));
	OK(grasp_register_asa(there, "server", &server));
	OK(grasp_register_objective(client, &money, NULL));
	OK(grasp_register_objective(server, &money, NULL));
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&servers[i], NULL, serve, NULL) == 0);

	negotiate();
	discover();
	polling();
	share();
	exchange();
	events();
	nonsense();
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&callers[i], NULL, caller, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(callers[i], NULL) == 0);
	OK(grasp_stop_listen_negotiate(server, &money));
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_join(servers[i], &result) == 0);
		CHECK((intptr_t)result == GRASP_STOPPED);
	}

	/* An instance is closed with a call under way; another is not closed at all. */
	CHECK(pthread_create(&callers[0], NULL, wait_for_ever, NULL) == 0);
	poll(NULL, 0, 100);
	OK(grasp_close(here));
	CHECK(pthread_join(callers[0], &result) == 0);
	CHECK((intptr_t)result == GRASP_NO_ASA);
	client = server;
	CHECK(pthread_create(&callers[0], NULL, wait_for_ever, NULL) == 0);
	pthread_detach(callers[0]);
	poll(NULL, 0, 100);
	printf("passed %d calls\n", calls * THREADS);
	return 0;
}
