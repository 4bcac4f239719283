/* The communicator of one process: comm.c answers every collective of size 1 itself, so only ends are needed. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "dist/comm_impl.h"

typedef struct self_impl {
    lk_comm_state state;
    lk_rank_record record;
    char host[256];
    const char *hosts[1];
} self_impl;

static lk_status no_peer(lk_error *err) {
    return lk_fail(err, LK_ERR_INTERNAL, "a single process has no other rank to exchange messages with");
}

static lk_status self_send(lk_comm *comm, lk_channel channel, const void *data, int64_t bytes, int to, int tag,
                           lk_request **request, lk_error *err) {
    (void)comm, (void)channel, (void)data, (void)bytes, (void)to, (void)tag, (void)request;
    return no_peer(err);
}

static lk_status self_receive(lk_comm *comm, lk_channel channel, void *data, int64_t bytes, int from, int tag,
                              lk_request **request, lk_error *err) {
    (void)comm, (void)channel, (void)data, (void)bytes, (void)from, (void)tag, (void)request;
    return no_peer(err);
}

static lk_status self_test(lk_comm *comm, lk_request **request, bool *done, lk_error *err) {
    (void)comm, (void)err;
    *request = NULL;
    *done = true;
    return LK_OK;
}

static void self_abort(lk_comm *comm, int exit_status) { (void)comm, (void)exit_status; }

static void self_free(lk_comm *comm) {
    lk_comm_state_free(comm->impl);
    lk_free(comm->impl);
    lk_free(comm);
}

static const struct lk_comm_functions self_functions = {
    .send = self_send, .receive = self_receive, .test = self_test, .abort = self_abort, .free = self_free};

lk_status lk_comm_self_create(lk_comm **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_comm *comm = NULL;
    self_impl *impl = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&comm, 1, "the communicator", err));
    LK_TRY(LK_NEW(&impl, 1, "the communicator", err));
    if (gethostname(impl->host, sizeof impl->host - 1) != 0) strcpy(impl->host, "localhost");
    impl->hosts[0] = impl->host;
    impl->state.records = &impl->record;
    impl->state.record_count = 1;
    *comm = (lk_comm){.size = 1,
                      .node_count = 1,
                      .node_size = 1,
                      .hosts = impl->hosts,
                      .timeout = 300,
                      .impl = impl,
                      .functions = &self_functions};
    lk_comm_state_init(comm);
    *out = comm;
    comm = NULL;
    impl = NULL;
out:
    lk_free(impl);
    lk_free(comm);
    return status;
}
