#include "jobs/usage.h"

void lk_usage_print(const char *synopsis, const char *about, const lk_option *options, int count, FILE *out) {
    fprintf(out, "usage: lockstep %s\n\n%s\n\noptions:\n", synopsis, about);
    lk_options_help(options, count, "--", out);
}
