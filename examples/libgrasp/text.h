#include "grasp.h"

const char *grasp_last_error(void);
void grasp_set_last_error(const char *text, int len);

extern const char *grasp_status_texts[256];
