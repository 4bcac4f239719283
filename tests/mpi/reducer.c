/* The reducer over a real MPI: the bits of one rank that computes the whole tree (P5), for faked node shapes, bucket
 * splits and tails. The exhaustive list runs between threads (tests/unit/dist/test_reducer.c). */
#include "dist/reducer.h"

#include <string.h>

#include "check.h"
#include "core/memory.h"
#include "leaf_tree.h"

#define COUNT 70001
#define MOST_BUCKETS 9

static void test_case(lk_comm *comm, int leaves, int buckets, int present, int levels, float *slab) {
    lk_reducer *reducer = NULL;
    lk_reducer_stats stats;
    int64_t ends[MOST_BUCKETS];
    for (int b = 0; b < buckets; b++) ends[b] = COUNT * (int64_t)(b + 1) / buckets;
    lk_reducer_config config = {
        .leaves = leaves, .count = COUNT, .dtype = LK_F32, .bucket_ends = ends, .buckets = buckets};
    CHECK_OK(comm, lk_reducer_create(&reducer, comm, &config, err));
    for (int64_t i = 0; i < COUNT; i++) {
        slab[i] = NAN;
        tree_value(made_up, lk_tree_share(leaves, comm->size, comm->rank), present, i, &slab[i]);
    }
    CHECK_OK(comm, lk_reducer_begin(reducer, slab, present, err));
    for (int b = 0; b < buckets; b++) {
        CHECK_OK(comm, lk_reducer_submit(reducer, (b + comm->rank) % buckets, err));
        CHECK_OK(comm, lk_reducer_poll(reducer, err));
    }
    CHECK_OK(comm, lk_reducer_wait(reducer, err));
    for (int64_t i = 0; i < COUNT; i++) {
        float expected = 0;
        tree_value(made_up, (lk_span){0, leaves}, present, i, &expected);
        CHECK(comm, memcmp(&expected, &slab[i], sizeof expected) == 0);
    }
    lk_reducer_get_stats(reducer, &stats);
    CHECK(comm, stats.levels == levels && stats.updates == 1 && stats.bucket_sums == buckets);
    lk_reducer_free(reducer);
}

/* Pretends that `per_node` consecutive ranks share a node. */
static void fake_nodes(lk_comm *comm, int per_node) {
    comm->node = comm->rank / per_node;
    comm->node_count = (comm->size + per_node - 1) / per_node;
}

static int expected_levels(int leaves, int ranks, int per_node) {
    if (per_node == 1 || per_node >= ranks) return 1;
    for (int first = 0; first < ranks; first += per_node) {
        int count = first + per_node <= ranks ? per_node : ranks - first;
        if (!lk_tree_is_node(leaves, (lk_span){first * (leaves / ranks), count * (leaves / ranks)})) return 1;
    }
    return 2;
}

int main(void) {
    lk_comm *comm = NULL;
    lk_error err = {0};
    float *slab = NULL;
    int cases = 0;
    if (lk_comm_mpi_create(&comm, &err) != LK_OK) {
        fprintf(stderr, "FAILED: %s\n", err.message);
        return 1;
    }
    lk_comm truth = *comm;
    CHECK_OK(comm, LK_NEW(&slab, COUNT, "a slab", err));
    for (int leaves = 1; leaves <= 12; leaves++) {
        if (!lk_tree_ranks_ok(leaves, comm->size)) continue;
        for (int per_node = 1; per_node <= comm->size; per_node++)
            for (int buckets = 1; buckets <= MOST_BUCKETS; buckets += 4) {
                int present = leaves - cases % leaves;
                fake_nodes(comm, per_node);
                test_case(comm, leaves, buckets, present, expected_levels(leaves, comm->size, per_node), slab);
                cases++;
            }
    }
    comm->node = truth.node;
    comm->node_count = truth.node_count;
    CHECK(comm, cases > 0);
    if (comm->rank == 0) printf("%d cases passed on %d rank%s\n", cases, comm->size, comm->size == 1 ? "" : "s");
    lk_free(slab);
    lk_comm_free(comm);
    return 0;
}
