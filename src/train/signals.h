/* SIGINT, SIGTERM and SIGUSR1 as a question that the loop asks (P22), without a handler: they are blocked and read from
 * a descriptor. A second SIGINT ends the program at once. */
#ifndef LK_TRAIN_SIGNALS_H
#define LK_TRAIN_SIGNALS_H

#include "core/error.h"

typedef struct lk_signals {
    int fd;       /* -1: not watching */
    int received; /* the signal that asked to stop, 0 for none */
} lk_signals;

/* Blocks the signals in this thread and those it starts: call before any thread exists. Errors: LK_ERR_INTERNAL. */
LK_MUST_CHECK lk_status lk_signals_watch(lk_signals *signals, lk_error *err);
/* Closes the descriptor. The signals stay blocked: what still arrives while the program ends must not change its
 * status. */
void lk_signals_release(lk_signals *signals);
/* Was one received? context: the lk_signals. Never blocks. */
bool lk_signals_requested(void *context);

#endif
