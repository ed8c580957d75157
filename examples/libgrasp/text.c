#define GRASP_NO_PROTOTYPES
#include "text.h"

#include <stdio.h>

/* 512 bytes are enough for a message with names and addresses in it. */
static __thread char last[512];

const char *grasp_last_error(void) { return last; }

void grasp_set_last_error(const char *text, int len) { snprintf(last, sizeof last, "%.*s", len, text); }

/* The texts of statuses are kept here, where tools that look for leaks find them. */
const char *grasp_status_texts[256];
