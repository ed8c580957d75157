/* gray.c: an ASA in C that asks Briggs, the banker of ./examples/briggs, for money.
 *
 *     go build -buildmode=c-shared -o libgrasp.so ./examples/libgrasp
 *     cc -o gray examples/libgrasp/gray/gray.c -I examples/libgrasp -L . -lgrasp -Wl,-rpath,.
 *     ./gray [interface]
 */
#include <stdio.h>
#include <stdlib.h>

#include "grasp.h"

static void must(int status, const char *what)
{
	if (status == GRASP_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, grasp_last_error());
	exit(1);
}

int main(int argc, char **argv)
{
	/* ["NZD", 100] in CBOR; the sum is its last byte. */
	uint8_t wanted[] = {0x82, 0x63, 'N', 'Z', 'D', 0x18, 100};
	grasp_objective ex3 = {.name = "EX3", .neg = 1, .dry = 1}, offer = {0};
	grasp_config cfg = {.links = argc > 1 ? argv[1] : NULL};
	grasp_instance node;
	grasp_asa gray;
	grasp_session session;
	int status;

	must(grasp_open(&cfg, &node), "open");
	must(grasp_wait_for_link(node, 10000, NULL), "wait for a link");
	must(grasp_register_asa(node, "Gray", &gray), "register ASA");
	must(grasp_register_objective(gray, &ex3, NULL), "register EX3");
	ex3.dry = 0; /* for real */
	ex3.value = wanted;
	ex3.value_len = sizeof wanted;
	status = grasp_request_negotiate(gray, &ex3, NULL, 10000, &session, &offer, NULL);
	for (int round = 0; status == GRASP_OK && session != 0; round++) { /* Briggs made an offer */
		if (round == 2) { /* enough haggling */
			status = grasp_end_negotiate(session, 1, NULL);
			break;
		}
		wanted[6] -= 5; /* ask for a little less */
		ex3.loop_count = offer.loop_count;
		grasp_objective_release(&offer);
		status = grasp_negotiate_step(session, &ex3, 10000, &session, &offer, NULL);
	}
	if (status == GRASP_OK)
		printf("agreed on %d NZD\n", offer.value[offer.value_len - 1]);
	else
		printf("no agreement: %s\n", grasp_last_error());
	grasp_objective_release(&offer);
	must(grasp_close(node), "close");
	return status != GRASP_OK && status != GRASP_DECLINED;
}
