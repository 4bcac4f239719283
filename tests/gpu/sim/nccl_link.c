/* The sockets between the ranks of the NCCL stand-in. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nccl_sim.h"

#define MAGIC 0x6c6b6e63u

void sim_nccl_fail(ncclComm_t comm, ncclResult_t error, const char *format, ...) {
    va_list args;
    if (comm->error != ncclSuccess) return;
    comm->error = error;
    va_start(args, format);
    vsnprintf(comm->words, sizeof comm->words, format, args);
    va_end(args);
}

/* A name that no file has. */
static socklen_t address_of(struct sockaddr_un *address, ncclComm_t comm, int rank) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length =
        snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "lk-nccl-%.*s-%d", SIM_ID_BYTES, comm->id, rank);
    return (socklen_t)(sizeof address->sun_family + 1 + (size_t)length);
}

ncclResult_t sim_link_listen(ncclComm_t comm) {
    struct sockaddr_un address;
    socklen_t length = address_of(&address, comm, comm->rank);
    comm->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (comm->listener < 0 || bind(comm->listener, (struct sockaddr *)&address, length) != 0 ||
        listen(comm->listener, SIM_RANKS) != 0)
        return ncclSystemError;
    return ncclSuccess;
}

static bool again(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

/* Hellos are small: they pass whole or not at all. */
static void greet(ncclComm_t comm, sim_peer *peer) {
    if (!peer->greeted) peer->greeted = send(peer->socket, &comm->own, sizeof comm->own, MSG_NOSIGNAL) > 0;
    if (!peer->heard && recv(peer->socket, &peer->hello, sizeof peer->hello, 0) == (ssize_t)sizeof peer->hello)
        peer->heard = true;
}

/* Higher ranks come to lower ones. */
static void connect_down(ncclComm_t comm, int rank) {
    struct sockaddr_un address;
    sim_peer *peer = &comm->peers[rank];
    socklen_t length = address_of(&address, comm, rank);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) sim_fault("no socket for rank %d", rank);
    if (connect(s, (struct sockaddr *)&address, length) == 0)
        peer->socket = s;
    else
        close(s); /* it does not listen yet */
}

/* Who comes says who it is before it is known where it belongs. */
static void accept_up(ncclComm_t comm) {
    int s = accept4(comm->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s < 0) return;
    sim_hello hello;
    ssize_t got;
    while ((got = recv(s, &hello, sizeof hello, 0)) < 0 && again()) usleep(50);
    if (got != (ssize_t)sizeof hello || hello.rank <= comm->rank || hello.rank >= comm->size)
        sim_fault("rank %d is met by who is no rank", comm->rank);
    sim_peer *peer = &comm->peers[hello.rank];
    *peer = (sim_peer){.socket = s, .heard = true, .hello = hello};
}

static void check_hello(ncclComm_t comm, const sim_hello *hello) {
    if (hello->size != comm->size)
        sim_nccl_fail(comm, ncclInvalidArgument, "rank %d joins %d ranks, not %d", hello->rank, hello->size,
                      comm->size);
    bool shared = memcmp(hello->uuid, comm->own.uuid, sizeof hello->uuid) == 0;
    int version;
    ncclGetVersion(&version);
    if (shared && (version < 23000 || sim_setting("NCCL_MULTI_RANK_GPU_ENABLE", 0) == 0))
        sim_nccl_fail(comm, ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d", comm->rank, hello->rank);
}

bool sim_link_join(ncclComm_t comm) {
    bool all = true;
    accept_up(comm);
    for (int rank = 0; rank < comm->size; rank++) {
        sim_peer *peer = &comm->peers[rank];
        if (rank == comm->rank) continue;
        if (peer->socket < 0 && rank < comm->rank) connect_down(comm, rank);
        if (peer->socket >= 0) greet(comm, peer);
        if (peer->socket >= 0 && peer->heard) check_hello(comm, &peer->hello);
        all = all && peer->socket >= 0 && peer->heard && peer->greeted;
    }
    return all;
}

void sim_link_close(ncclComm_t comm) {
    if (comm->listener >= 0) close(comm->listener);
    comm->listener = -1;
    for (int rank = 0; rank < comm->size; rank++) {
        if (comm->peers[rank].socket >= 0) close(comm->peers[rank].socket);
        comm->peers[rank].socket = -1;
    }
}

/* Bytes in one direction; false: nothing moves now. */
static bool pass(ncclComm_t comm, const sim_message *m, char *data, size_t bytes, size_t *moved) {
    int s = comm->peers[m->peer].socket;
    while (*moved < bytes) {
        ssize_t step = m->sending ? send(s, data + *moved, bytes - *moved, MSG_NOSIGNAL)
                                  : recv(s, data + *moved, bytes - *moved, 0);
        if (step < 0 && again()) return false;
        if (step <= 0) {
            sim_nccl_fail(comm, ncclRemoteError, "the connection to rank %d was closed", m->peer);
            return false;
        }
        *moved += (size_t)step;
    }
    return true;
}

static void begin_message(ncclComm_t comm, sim_message *m) {
    if (m->header.magic != 0 || !m->sending) return;
    m->header = (sim_header){MAGIC, comm->peers[m->peer].sent++, m->bytes};
}

static void check_header(ncclComm_t comm, const sim_message *m) {
    const sim_header *h = &m->header;
    if (h->magic == MAGIC && h->bytes == m->bytes && h->sequence == comm->peers[m->peer].taken) return;
    sim_fault("rank %d receives message %u of %zu bytes from rank %d, which sends message %u of %llu", comm->rank,
              comm->peers[m->peer].taken, m->bytes, m->peer, h->sequence, (unsigned long long)h->bytes);
}

/* Device memory is looked at as late as can be: a buffer that is used again too early gives wrong bits. */
static void move_message(ncclComm_t comm, sim_message *m) {
    begin_message(comm, m);
    bool fresh = m->header_moved < sizeof m->header;
    if (!pass(comm, m, (char *)&m->header, sizeof m->header, &m->header_moved)) return;
    if (fresh && !m->sending) check_header(comm, m);
    if (!pass(comm, m, sim_memory_reach(m->data), m->bytes, &m->moved)) return;
    if (!m->sending) comm->peers[m->peer].taken++;
    m->done = true;
}

/* What a rank sends itself: the k-th message that it sends to the k-th that it receives. */
static void move_own(sim_group *group) {
    int self = group->comm->rank, to = 0;
    for (int from = 0; from < group->count; from++) {
        sim_message *m = &group->messages[from];
        if (m->peer != self || !m->sending || m->done) continue;
        while (to < group->count && (group->messages[to].peer != self || group->messages[to].sending)) to++;
        if (to == group->count || group->messages[to].bytes != m->bytes)
            sim_fault("rank %d sends itself %zu bytes that it does not receive", self, m->bytes);
        memcpy(sim_memory_reach(group->messages[to].data), sim_memory_reach(m->data), m->bytes);
        m->done = group->messages[to++].done = true;
    }
}

/* Between two ranks one message after another. */
bool sim_link_move(sim_group *group) {
    move_own(group);
    bool blocked[2][SIM_RANKS] = {{false}}, all = true;
    for (int i = 0; i < group->count && group->comm->error == ncclSuccess; i++) {
        sim_message *m = &group->messages[i];
        if (m->done || blocked[m->sending][m->peer]) {
            all = all && m->done;
            continue;
        }
        move_message(group->comm, m);
        blocked[m->sending][m->peer] = !m->done;
        all = all && m->done;
    }
    return all && group->comm->error == ncclSuccess;
}
