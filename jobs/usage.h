/* --help of the subcommands. */
#ifndef LK_JOBS_USAGE_H
#define LK_JOBS_USAGE_H

#include "core/options.h"

/* Prints "usage: lockstep SYNOPSIS", what the command does, and its options. */
void lk_usage_print(const char *synopsis, const char *about, const lk_option *options, int count, FILE *out);

#endif
