// Floor does what the kernel needs of an exchange of GRASP and nothing else: a
// connection, a request of a few bytes, an answer, the end.
//
//	floor serve                        prints its port, and answers until its input ends
//	floor ask ADDR LINK PORT OUT IN    requests of OUT bytes, answers of IN bytes: for each
//	                                   line "N C" of its input it makes N exchanges, C at
//	                                   a time, and prints how many seconds that took
//
// The first byte of a request says how long the answer is.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most = 256, threads = 64 };

static struct sockaddr_in6 peer;
static int out, in, listener;
static long left;

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static void set(int s, int option, int value) { setsockopt(s, IPPROTO_TCP, option, &value, sizeof value); }

static void *answer(void *unused) {
	unsigned char b[most];
	for (;;) {
		int s = accept(listener, NULL, NULL);
		if (s < 0)
			continue;
		if (read(s, b, most) > 0 && write(s, b, b[0]) < 0)
			perror("answer");
		close(s); // first, so that the kernel remembers the connection here
	}
	return unused;
}

static void serve(void) {
	struct sockaddr_in6 a = {.sin6_family = AF_INET6};
	socklen_t size = sizeof a;
	listener = socket(AF_INET6, SOCK_STREAM, 0);
	if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096) || getsockname(listener, (void *)&a, &size))
		fail("listen");
	printf("%d\n", ntohs(a.sin6_port));
	fflush(stdout);
	for (int i = 0; i < threads; i++) {
		pthread_t t;
		pthread_create(&t, NULL, answer, NULL);
	}
	while (getchar() != EOF)
		;
}

static void *ask(void *unused) {
	unsigned char b[most] = {in};
	while (__sync_fetch_and_sub(&left, 1) > 0) {
		int s = socket(AF_INET6, SOCK_STREAM, 0);
#ifdef TCP_QUICKACK
		set(s, TCP_QUICKACK, 0);
#endif
		set(s, TCP_NODELAY, 1);
		if (connect(s, (void *)&peer, sizeof peer) || write(s, b, out) != out || read(s, b, most) != in || read(s, b, most))
			fail("exchange");
		b[0] = in;
		close(s);
	}
	return unused;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int n, char **arg) {
	if (n == 2 && !strcmp(arg[1], "serve")) {
		serve();
		return 0;
	}
	if (n != 7 || strcmp(arg[1], "ask"))
		return 2;
	peer.sin6_family = AF_INET6;
	if (inet_pton(AF_INET6, arg[2], &peer.sin6_addr) != 1)
		return 2;
	peer.sin6_scope_id = atoi(arg[3]);
	peer.sin6_port = htons(atoi(arg[4]));
	out = atoi(arg[5]);
	in = atoi(arg[6]);
	long exchanges;
	int times;
	while (scanf("%ld %d", &exchanges, &times) == 2) {
		pthread_t *t = calloc(times, sizeof *t);
		left = exchanges;
		double start = now();
		for (int i = 0; i < times; i++)
			pthread_create(&t[i], NULL, ask, NULL);
		for (int i = 0; i < times; i++)
			pthread_join(t[i], NULL);
		printf("%.9f\n", now() - start);
		fflush(stdout);
		free(t);
	}
	return 0;
}
