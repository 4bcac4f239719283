/* Every call of the communicator over a real MPI, whole and in chunks, with all roots. */
#include <string.h>

#include "check.h"
#include "core/memory.h"
#include "dist/comm_impl.h"
#include "dist/topology.h"

static unsigned char pattern(int rank, int64_t i) { return (unsigned char)(rank * 37 + i * 11 + i / 251); }

static void test_places(lk_comm *comm) {
    CHECK(comm, comm->rank >= 0 && comm->rank < comm->size);
    CHECK(comm, comm->node_rank >= 0 && comm->node_rank < comm->node_size);
    CHECK(comm, comm->node >= 0 && comm->node < comm->node_count);
    for (int rank = 0; rank < comm->size; rank++) CHECK(comm, comm->hosts[rank][0] != '\0');
    lk_topology topology;
    int cores = 0;
    CHECK_OK(comm, lk_topology_cores(&cores, err));
    CHECK_OK(comm, lk_topology_create(&topology, comm, err));
    CHECK(comm, cores >= 1 && topology.places[comm->rank].bound == cores);
    CHECK(comm, topology.places[comm->rank].share >= 1 && topology.places[comm->rank].share <= cores);
    CHECK(comm, topology.places[comm->rank].available >= cores);
    CHECK(comm, lk_topology_idle_cores(&topology, 0, 1) >= 0);
    if (comm->rank == 0) lk_topology_print(&topology, stdout);
    lk_topology_free(&topology);
}

static void test_broadcast(lk_comm *comm) {
    static const int64_t sizes[] = {0, 1, 63, 64, 65, 1000};
    unsigned char data[1001];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int root = 0; root < comm->size; root++) {
            for (int64_t i = 0; i < 1001; i++) data[i] = comm->rank == root ? pattern(root, i) : 0;
            CHECK_OK(comm, lk_comm_broadcast(comm, data, sizes[s], root, err));
            for (int64_t i = 0; i < 1001; i++)
                CHECK(comm, data[i] == (comm->rank == root || i < sizes[s] ? pattern(root, i) : 0));
        }
}

static void test_allgather(lk_comm *comm) {
    enum { MOST = 300 };
    static const int64_t sizes[] = {0, 1, 16, 17, MOST};
    unsigned char mine[MOST], all[MOST * 8 + 1];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int64_t bytes = sizes[s];
        for (int64_t i = 0; i < bytes; i++) mine[i] = pattern(comm->rank, i);
        memset(all, 0xEE, sizeof all);
        CHECK_OK(comm, lk_comm_allgather(comm, mine, all, bytes, err));
        for (int rank = 0; rank < comm->size; rank++)
            for (int64_t i = 0; i < bytes; i++) CHECK(comm, all[rank * bytes + i] == pattern(rank, i));
        CHECK(comm, all[comm->size * bytes] == 0xEE);
    }
}

static void test_reductions(lk_comm *comm) {
    int64_t values[100], n = comm->size;
    for (int64_t i = 0; i < 100; i++) values[i] = (int64_t)1 << 40 | ((i + 1) * (comm->rank + 1));
    for (int64_t i = 0; i < 100; i++) values[i] = i * (comm->rank + 1) - ((int64_t)1 << 40);
    CHECK_OK(comm, lk_comm_allreduce_i64(comm, values, 100, err));
    for (int64_t i = 0; i < 100; i++) CHECK(comm, values[i] == i * n * (n + 1) / 2 - n * ((int64_t)1 << 40));
    int64_t value = comm->rank == comm->size / 2 ? 1 : 0;
    CHECK_OK(comm, lk_comm_max(comm, &value, err));
    CHECK(comm, value == 1);
    value = -5 - comm->rank;
    CHECK_OK(comm, lk_comm_max(comm, &value, err));
    CHECK(comm, value == -5);
}

static void test_gather(lk_comm *comm) {
    int64_t counts[8], total = 0, at = 0;
    unsigned char mine[200 * 8], all[200 * 36 + 1];
    for (int rank = 0; rank < comm->size; rank++) total += counts[rank] = rank == 1 ? 0 : 200 * rank + 1;
    for (int64_t i = 0; i < counts[comm->rank]; i++) mine[i] = pattern(comm->rank, i);
    for (int root = 0; root < comm->size; root++) {
        memset(all, 0xEE, sizeof all);
        CHECK_OK(comm, lk_comm_gather(comm, mine, counts, comm->rank == root ? all : NULL, root, err));
        at = 0;
        for (int rank = 0; rank < comm->size && comm->rank == root; rank++)
            for (int64_t i = 0; i < counts[rank]; i++) CHECK(comm, all[at++] == pattern(rank, i));
        CHECK(comm, all[comm->rank == root ? total : 0] == 0xEE);
    }
}

static void test_agree(lk_comm *comm) {
    lk_error err = {0};
    CHECK(comm, lk_comm_agree(comm, LK_OK, &err) == LK_OK && err.status == LK_OK);
    for (int bad = 0; bad < comm->size; bad++) {
        char expected[64];
        lk_status mine = LK_OK;
        lk_error_clear(&err);
        if (comm->rank == bad) mine = lk_fail(&err, LK_ERR_DATA, "sample 7 is broken");
        CHECK(comm, lk_comm_agree(comm, mine, &err) == LK_ERR_DATA);
        CHECK(comm, err.status == LK_ERR_DATA);
        snprintf(expected, sizeof expected, "rank %d: sample 7 is broken", bad);
        CHECK(comm, strcmp(err.message, comm->rank == bad ? "sample 7 is broken" : expected) == 0);
    }
    /* The worst of two wins; a rank's own first error stays; a status without a sentence still has words. */
    lk_error_clear(&err);
    lk_status mine = LK_OK;
    if (comm->rank == 0) mine = lk_fail(&err, LK_STOPPED, "asked to stop");
    if (comm->rank == comm->size - 1) mine = LK_ERR_NUMERIC;
    CHECK(comm, lk_comm_agree(comm, mine, &err) == LK_ERR_NUMERIC);
    CHECK(comm, err.message[0] != '\0');
    if (comm->rank == 0 && comm->size > 1) CHECK(comm, strcmp(err.message, "asked to stop") == 0);
}

static void test_check_equal(lk_comm *comm) {
    lk_error err = {0};
    char text[200];
    memset(text, 'x', sizeof text);
    CHECK_OK(comm, lk_comm_check_equal(comm, text, sizeof text, "the job", err));
    for (int odd = 1; odd < comm->size; odd++) {
        char expected[64];
        snprintf(expected, sizeof expected, "the job of rank %d ", odd);
        lk_error_clear(&err);
        if (comm->rank >= odd) text[150] = 'y';
        CHECK(comm, lk_comm_check_equal(comm, text, sizeof text, "the job", &err) == LK_ERR_CONFIG);
        CHECK(comm, strncmp(err.message, expected, strlen(expected)) == 0);
        text[150] = 'x';
        lk_error_clear(&err);
        int64_t bytes = comm->rank == odd ? 199 : 200; /* a different length is a difference too */
        CHECK(comm, lk_comm_check_equal(comm, text, bytes, "the job", &err) == LK_ERR_CONFIG);
        CHECK(comm, strncmp(err.message, expected, strlen(expected)) == 0);
    }
}

static void wait_for(lk_comm *comm, lk_request **request) {
    for (bool done = false; !done;) CHECK_OK(comm, lk_comm_test(comm, request, &done, err));
    CHECK(comm, *request == NULL);
}

/* Round the ring, several messages of the same tag and one of many parts. */
static void test_messages(lk_comm *comm, int64_t bytes) {
    if (comm->size == 1) return;
    unsigned char *out = NULL, *in = NULL;
    int to = (comm->rank + 1) % comm->size, from = (comm->rank + comm->size - 1) % comm->size;
    lk_request *requests[6];
    CHECK_OK(comm, LK_NEW(&out, bytes, "a message", err));
    CHECK_OK(comm, LK_NEW(&in, bytes, "a message", err));
    for (int64_t i = 0; i < bytes; i++) out[i] = pattern(comm->rank, i);
    CHECK_OK(comm, lk_comm_send(comm, out, 3, to, 5, &requests[0], err));
    CHECK_OK(comm, lk_comm_send(comm, out + 3, bytes - 3, to, 5, &requests[1], err));
    CHECK_OK(comm, lk_comm_send(comm, out, 0, to, 32767, &requests[2], err));
    CHECK_OK(comm, lk_comm_receive(comm, in, 0, from, 32767, &requests[3], err));
    CHECK_OK(comm, lk_comm_receive(comm, in, 3, from, 5, &requests[4], err));
    CHECK_OK(comm, lk_comm_receive(comm, in + 3, bytes - 3, from, 5, &requests[5], err));
    for (int i = 5; i >= 0; i--) wait_for(comm, &requests[i]);
    for (int64_t i = 0; i < bytes; i++) CHECK(comm, in[i] == pattern(from, i));
    lk_free(out);
    lk_free(in);
}

int main(void) {
    lk_comm *comm = NULL;
    lk_error err = {0};
    if (lk_comm_mpi_create(&comm, &err) != LK_OK) {
        fprintf(stderr, "FAILED: %s\n", err.message);
        return 1;
    }
    test_places(comm);
    static const int64_t chunks[] = {1LL << 30, 64, 7};
    for (int c = 0; c < 3; c++) {
        lk_comm_state_of(comm)->chunk_bytes = chunks[c];
        lk_comm_set_phase(comm, "chunks of %lld bytes", (long long)chunks[c]);
        test_broadcast(comm);
        test_allgather(comm);
        test_reductions(comm);
        test_gather(comm);
        test_agree(comm);
        test_check_equal(comm);
        test_messages(comm, 5000);
    }
    lk_comm_state_of(comm)->chunk_bytes = 1LL << 30;
    test_messages(comm, 3 << 20);
    CHECK_OK(comm, lk_comm_barrier(comm, err));
    if (comm->rank == 0) printf("passed on %d rank%s\n", comm->size, comm->size == 1 ? "" : "s");
    lk_comm_free(comm);
    return 0;
}
