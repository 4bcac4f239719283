#include "train/signals.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void fill(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGUSR1);
}

lk_status lk_signals_watch(lk_signals *signals, lk_error *err) {
    sigset_t set;
    fill(&set);
    signals->received = 0;
    signals->fd = -1;
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
        (signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return lk_fail(err, LK_ERR_INTERNAL, "cannot watch for signals");
    return LK_OK;
}

void lk_signals_release(lk_signals *signals) {
    if (signals->fd >= 0) close(signals->fd);
    signals->fd = -1;
}

bool lk_signals_requested(void *context) {
    lk_signals *signals = context;
    struct signalfd_siginfo info;
    if (signals->fd < 0) return signals->received != 0;
    while (read(signals->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (signals->received != 0) continue;
        signals->received = (int)info.ssi_signo;
        /* From now on SIGINT has its default action: a second one ends the program at once. */
        sigset_t interrupt;
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGINT);
        pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    }
    return signals->received != 0;
}
