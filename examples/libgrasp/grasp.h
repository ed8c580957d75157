/*
 * grasp.h: GRASP (RFC 8990) for C, with the API of RFC 8991.
 *
 * Build the library with
 *
 *     go build -buildmode=c-shared -o libgrasp.so ./examples/libgrasp
 *
 * and link with -lgrasp. The functions that return an int return a status:
 * GRASP_OK or one of the codes below, which are those of RFC 8991, appendix A.
 * grasp_last_error() says more.
 *
 * Threads. Any thread may call any function at any time, with any handle. A
 * struct is the caller's: no other thread may change it during the call. Do not
 * fork without exec after grasp_open.
 *
 * Memory. What a caller passes in is copied before the function returns, with
 * op, too, and stays the caller's. What a function gives out is the caller's to
 * release, with the function that its comment names. A function overwrites an
 * out parameter without releasing what was there: pass a struct that is zeroed
 * or released. If the status is not GRASP_OK, no out parameter is written but
 * *op. An out parameter must not be NULL, unless its comment says so.
 *
 * Handles are numbers. 0 is none, and a handle that is over gives an error,
 * never a crash. grasp_close ends all that was made from an instance.
 *
 * Time is in milliseconds. A timeout_ms of 0 means 60,000, unless a comment says
 * otherwise.
 *
 * Blocking. The functions with a parameter op block if it is NULL, until there
 * is an answer, the timeout ends, or the ASA or its instance does. Otherwise
 * they are the polling form of RFC 8991 for event loops. Set *op to 0 and call:
 * with GRASP_NO_REPLY *op becomes a handle, and the answer is not there yet. Call
 * again with the same op, from any thread, until *op is 0: then the status is
 * that of the whole call, which for grasp_recv and grasp_next_event may be
 * GRASP_NO_REPLY again. grasp_op_fd gives a descriptor for poll(2) that is
 * readable when the answer is there. The arguments of the first call count;
 * the out parameters of the last one are written. grasp_op_cancel ends what is
 * under way. The functions without op do not wait for an answer; those that send
 * to the peer of a session may wait for its connection to take the message.
 */
#ifndef GRASP_H
#define GRASP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* RFC 8991, appendix A; from 39 on, codes of the implementations. */
enum grasp_status {
	GRASP_OK = 0,
	GRASP_DECLINED = 1,          /* the peer declined */
	GRASP_NO_REPLY = 2,          /* nothing came in time; with *op not 0: not yet, call again */
	GRASP_UNSPEC = 3,            /* an argument makes no sense */
	GRASP_ASA_FULL = 4,
	GRASP_DUP_ASA = 5,
	GRASP_NO_ASA = 6,            /* no such handle, or it is over */
	GRASP_NOT_YOUR_ASA = 7,
	GRASP_NOT_BOTH = 8,
	GRASP_NOT_DRY = 9,
	GRASP_NOT_OVERLAP = 10,
	GRASP_OBJ_FULL = 11,
	GRASP_OBJ_REG = 12,
	GRASP_NOT_YOUR_OBJ = 13,
	GRASP_NOT_OBJ = 14,
	GRASP_NOT_NEG = 15,
	GRASP_NO_SECURITY = 16,
	GRASP_NO_DISC_REPLY = 17,
	GRASP_SOCK_ERR_NEG_RQ = 18,
	GRASP_NO_SESSION = 19,
	GRASP_NO_SOCKET = 20,
	GRASP_LOOP_EXHAUSTED = 21,   /* nothing was sent, the session lives: end it */
	GRASP_SOCK_ERR_NEG_STEP = 22,
	GRASP_NO_PEER = 23,
	GRASP_CBOR_FAIL = 24,
	GRASP_INVALID_NEG = 25,
	GRASP_INVALID_END = 26,
	GRASP_NO_NEG_REPLY = 27,
	GRASP_NO_VALID_STEP = 28,
	GRASP_SOCK_ERR_WAIT = 29,
	GRASP_SOCK_ERR_END = 30,
	GRASP_ID_CLASH = 31,         /* a request was dropped; listen again */
	GRASP_NOT_SYNCH = 32,
	GRASP_NOT_FLOOD_DISC = 33,
	GRASP_SOCK_ERR_SYN_RQ = 34,
	GRASP_NO_LISTENER = 35,
	GRASP_NO_SYNCH_REPLY = 36,
	GRASP_NO_VALID_SYNCH = 37,
	GRASP_INVALID_LOC = 38,
	GRASP_SOCK_ERR = 39,
	GRASP_TOO_LONG = 40,         /* the message would be too long; nothing was sent */
	GRASP_CANCELLED = 41,
	GRASP_STOPPED = 42,          /* grasp_stop_listen_negotiate ended the listening */
	GRASP_UNUSABLE_LOCATOR = 43  /* it cannot be connected to */
};

typedef uint64_t grasp_instance; /* a node */
typedef uint64_t grasp_asa;      /* the asa_handle of RFC 8991 */
typedef uint64_t grasp_session;  /* the session_handle of RFC 8991 */
typedef uint64_t grasp_op;       /* a call under way, in the polling form */

/* Which events grasp_next_event gives: a sum of these. */
enum grasp_events {
	GRASP_EVENT_SENT = 1,
	GRASP_EVENT_RECEIVED = 2,
	GRASP_EVENT_RELAYED = 4,
	GRASP_EVENT_DROPPED = 8
};

/* How a node is set up. All zero: on all links of this machine, which are
 * assumed to be protected by other means. */
typedef struct grasp_config {
	const char *links;    /* names of interfaces, separated by commas; NULL: all */
	const char *password; /* of a QUADS domain, if not NULL */
	const char *tls_dir;  /* directory with the credentials of a TLS domain, if not NULL, */
	const char *tls_name; /* and the name of this member in it */
	int ipv4;             /* use links without IPv6, too */
	int dull;             /* a DULL instance (RFC 8990 section 2.5.2) */
	const char *dull_objectives; /* names of those it deals with, separated by commas;
	                       * NULL: AN_ACP and AN_Proxy */
	int events;           /* of enum grasp_events; 0: none */
} grasp_config;

/* RFC 8991 section 2.3.2.3. */
typedef struct grasp_objective {
	const char *name;     /* UTF-8 */
	int neg, dry, synch;  /* the flags: 0 or not */
	uint8_t loop_count;   /* 0: 6 */
	const uint8_t *value; /* one CBOR item; NULL: CBOR's null */
	size_t value_len;     /* in bytes */
} grasp_objective;

/* RFC 8991 section 2.3.2.4. */
enum grasp_locator_kind { GRASP_IPV6 = 103, GRASP_IPV4 = 104, GRASP_FQDN = 105, GRASP_URI = 106 };
typedef struct grasp_locator {
	int kind;             /* one of the above; 0: none */
	const char *text;     /* the address, name or URI; a link-local address may have a zone */
	uint16_t protocol;    /* 6 TCP, 17 UDP; 0 for URIs; 65,535 for all beyond it */
	uint16_t port;        /* in the order of the machine */
	uint32_t if_index;    /* of the link by which it was learned, 0 if not known */
	int diverted;         /* it came in a Divert */
	uint32_t expire_ms;   /* how much longer it lives, from the call on; 0: for ever */
} grasp_locator;

/* RFC 8991 section 2.3.2.5. */
typedef struct grasp_tagged_objective {
	grasp_objective objective;
	grasp_locator source; /* may be of kind 0 */
} grasp_tagged_objective;

/* Settings of grasp_register_objective. All zero: the defaults. */
typedef struct grasp_register_options {
	uint32_t ttl_ms;      /* life of discovery responses; 0: 60,000 */
	int discoverable;     /* from now on, not only when somebody listens */
	int overlap;          /* other ASAs may register it, too */
	int local;            /* give link-local addresses only */
	int rapid;            /* allow rapid mode */
	const grasp_locator *locators; /* given to whoever asks, instead of this node's */
	size_t n_locators;
} grasp_register_options;

#ifndef GRASP_NO_PROTOTYPES

/* The text of a status. It stays valid for ever. */
const char *grasp_strerror(int status);

/* What went wrong in this thread's last call that did not return GRASP_OK, cut to
 * 511 bytes. The text is the library's, and valid until the thread's next call. */
const char *grasp_last_error(void);

/* These release what functions gave out: an objective; a locator; an array of n
 * locators or floods; a text or an item. NULL and zeroed structs are fine. The
 * first two zero the struct, which may then be used again. */
void grasp_objective_release(grasp_objective *o);
void grasp_locator_release(grasp_locator *l);
void grasp_locators_release(grasp_locator *list, size_t n);
void grasp_floods_release(grasp_tagged_objective *list, size_t n);
void grasp_free(void *p);

/* Starts a node. cfg may be NULL. End it with grasp_close. */
int grasp_open(const grasp_config *cfg, grasp_instance *out);
/* Waits until a link is in use. */
int grasp_wait_for_link(grasp_instance g, uint32_t timeout_ms, grasp_op *op);
/* Ends a node, its ASAs and sessions. Calls under way return GRASP_NO_ASA or
 * GRASP_NO_SESSION. */
int grasp_close(grasp_instance g);

/* Registration: RFC 8991 section 2.3.3. opt may be NULL. */
int grasp_register_asa(grasp_instance g, const char *name, grasp_asa *out);
/* Ends the ASA's calls under way, with GRASP_NO_ASA, and its sessions. */
int grasp_deregister_asa(grasp_asa asa);
int grasp_register_objective(grasp_asa asa, const grasp_objective *o, const grasp_register_options *opt);
int grasp_deregister_objective(grasp_asa asa, const grasp_objective *o);

/* Discovery: section 2.3.4. *list gets *n locators, or NULL; release it with
 * grasp_locators_release. timeout_ms 0 means 100 ms times the loop count.
 * Known locators that live no longer than minimum_ttl_ms are forgotten first. */
int grasp_discover(grasp_asa asa, const grasp_objective *o, uint32_t timeout_ms, uint32_t minimum_ttl_ms,
	grasp_locator **list, size_t *n, grasp_op *op);

/* Negotiation: section 2.3.5. peer may be NULL: one is discovered. After
 * GRASP_OK either *session is 0, the peer accepted and *answer is what was
 * agreed on; or the negotiation goes on and *answer is the peer's offer.
 * answer may be NULL; release it with grasp_objective_release.
 * GRASP_DECLINED: grasp_last_error() ends with the peer's reason. */
int grasp_request_negotiate(grasp_asa asa, const grasp_objective *o, const grasp_locator *peer, uint32_t timeout_ms,
	grasp_session *session, grasp_objective *answer, grasp_op *op);
/* Waits for a request, without a timeout: grasp_stop_listen_negotiate ends it
 * with GRASP_STOPPED. asked may be NULL; release it with grasp_objective_release. */
int grasp_listen_negotiate(grasp_asa asa, const grasp_objective *o,
	grasp_session *session, grasp_objective *asked, grasp_op *op);
int grasp_stop_listen_negotiate(grasp_asa asa, const grasp_objective *o);
/* Sends an offer and waits for the answer, which is given out as by
 * grasp_request_negotiate. o is the objective last received with a new value; the
 * function counts its loop_count down. *next is 0 if the peer accepted, else
 * session; next may point to the variable that holds session. After
 * GRASP_DECLINED, and most other errors, the session is over. */
int grasp_negotiate_step(grasp_session session, const grasp_objective *o, uint32_t timeout_ms,
	grasp_session *next, grasp_objective *answer, grasp_op *op);
/* Asks the peer to wait for so long, from now on, for the next step. */
int grasp_negotiate_wait(grasp_session session, uint32_t timeout_ms);
/* Ends the session. reason is UTF-8, may be NULL, and counts only if accept is 0. */
int grasp_end_negotiate(grasp_session session, int accept, const char *reason);
/* Ends the session without a word. */
int grasp_close_session(grasp_session session);
/* Ends the session with M_INVALID. info is one CBOR item, or NULL. */
int grasp_send_invalid(grasp_session session, const uint8_t *info, size_t info_len);
/* The peer's address and port, as in "[2001:db8::1]:7017", and its proven identity
 * or "". Either buffer, of so many bytes, may be NULL; texts are cut to fit and
 * end with a zero byte. */
int grasp_session_peer(grasp_session session, char *addr, size_t addr_len, char *identity, size_t identity_len);

/* Free exchange on a session, one CBOR item a message (not in RFC 8991). One
 * side opens the session, which the other gets from grasp_listen_negotiate. */
int grasp_open_session(grasp_asa asa, const grasp_objective *o, const grasp_locator *peer, uint32_t timeout_ms,
	grasp_session *session, grasp_op *op);
int grasp_send(grasp_session session, const uint8_t *item, size_t len);
/* *item gets *len bytes; release it with grasp_free. */
int grasp_recv(grasp_session session, uint32_t timeout_ms, uint8_t **item, size_t *len, grasp_op *op);

/* Synchronization and flooding: section 2.3.6. peer may be NULL: a flooded value
 * is taken, or somebody who has one is discovered. Release answer with
 * grasp_objective_release. */
int grasp_synchronize(grasp_asa asa, const grasp_objective *o, const grasp_locator *peer, uint32_t timeout_ms,
	grasp_objective *answer, grasp_op *op);
/* Gives this value to whoever asks, from now on; called again, another one. */
int grasp_listen_synchronize(grasp_asa asa, const grasp_objective *o);
int grasp_stop_listen_synchronize(grasp_asa asa, const grasp_objective *o);
/* Floods n objectives with their values. ttl_ms 0 means for ever. */
int grasp_flood(grasp_asa asa, uint32_t ttl_ms, const grasp_tagged_objective *list, size_t n);
/* *list gets *n floods, or NULL; release it with grasp_floods_release. */
int grasp_get_flood(grasp_asa asa, const grasp_objective *o, grasp_tagged_objective **list, size_t *n);
/* Forgets a flooded value on this node. */
int grasp_expire_flood(grasp_asa asa, const grasp_tagged_objective *flood);

/* What the node knows: links, registries, caches, sessions and counters, as
 * JSON. Release it with grasp_free. */
int grasp_snapshot(grasp_instance g, char **json);
/* Waits for the next event of the kinds in grasp_config: a message that was sent,
 * received, relayed or dropped. *json gets an object with its Time, Kind ("sent",
 * "received", "relayed" or "dropped"), Reason (why it was dropped), Message (its
 * type), SessionID, Objective, Peer, Link, Raw (the message in base64) and Err;
 * release it with grasp_free. Each event is given out once, in order. At most 8,192
 * wait; grasp_snapshot counts what is lost then under "slow receiver". */
int grasp_next_event(grasp_instance g, uint32_t timeout_ms, char **json, grasp_op *op);

/* The polling form. The descriptor belongs to the operation, is readable when
 * its answer is there, and is closed when that was taken; do not read from it. */
int grasp_op_fd(grasp_op op, int *fd);
/* Cancels what is under way; its answer is lost. *op is 0 afterwards. */
int grasp_op_cancel(grasp_op *op);

#endif

#ifdef __cplusplus
}
#endif
#endif
