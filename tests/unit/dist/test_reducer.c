/* The gradient reducer gives the bits that one rank computes over the whole tree (P5), and sums every bucket exactly
 * once per update (P7): over all node shapes, bucket splits and tails, between threads; in host memory and the same in
 * a device's. */
#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "core/tree.h"
#include "dist/reducer.h"
#include "fake_gpu.h"
#include "loopback.h"
#include "tests/unit/unit.h"

#define MAX_COUNT 9000
#define MAX_LEAVES 12
#define MAX_BUCKETS 40

typedef struct reduce_case {
    int leaves, buckets, levels;
    lk_dtype dtype;
    int64_t count;
    int64_t ends[MAX_BUCKETS], begins[MAX_BUCKETS];
    bool gaps;          /* begins are given: what lies in no bucket keeps this rank's bits */
    bool exact, device; /* device: the slab lies in a device's memory */
    unsigned seed;
    int failures; /* under the lock of the world */
    pthread_mutex_t lock;
} reduce_case;

/* Random values over 20 binades, so that the order of additions shows; or small integers times a power of two. */
static double leaf_value(const reduce_case *c, int leaf, int64_t i) {
    uint64_t x = (uint64_t)c->seed * 0x9E3779B97F4A7C15u + (uint64_t)leaf * 0xBF58476D1CE4E5B9u + (uint64_t)i;
    for (int k = 0; k < 3; k++) x = (x ^ (x >> 29)) * 0x94D049BB133111EBu;
    if (c->exact) return ldexp((double)(int)(x % 2001) - 1000, (int)(i % 7) - 3);
    return ldexp((double)(int32_t)(x >> 32), -31 - (int)(x % 20));
}

static double round_to(lk_dtype dtype, double x) { return dtype == LK_F32 ? (double)(float)x : x; }

/* The oracle: the tree's definition, recursively, one element at a time. */
static bool tree_value(const reduce_case *c, lk_span node, int present, int64_t i, double *out) {
    if (node.first >= present) return false;
    if (node.count == 1) {
        *out = round_to(c->dtype, leaf_value(c, node.first, i));
        return true;
    }
    double left = 0, right = 0;
    bool has_left = tree_value(c, lk_tree_left(node), present, i, &left);
    bool has_right = tree_value(c, lk_tree_right(node), present, i, &right);
    if (has_left && has_right) *out = round_to(c->dtype, left + right);
    if (has_left != has_right) *out = has_left ? left : right;
    return has_left || has_right;
}

static void store(const reduce_case *c, void *slab, int64_t i, double x) {
    if (c->dtype == LK_F32)
        ((float *)slab)[i] = (float)x;
    else
        ((double *)slab)[i] = x;
}

static void note_failure(reduce_case *c) {
    pthread_mutex_lock(&c->lock);
    c->failures++;
    pthread_mutex_unlock(&c->lock);
}

/* A rank without a leaf may hold anything, NaN included: it must not get into the sum. */
static void fill_partial(const reduce_case *c, lk_span share, int present, void *slab) {
    for (int64_t i = 0; i < c->count; i++) {
        double x = NAN;
        tree_value(c, share, present, i, &x);
        store(c, slab, i, x);
    }
}

static lk_status one_update(lk_comm *comm, reduce_case *c, lk_reducer *reducer, void *slab, int present,
                            lk_error *err) {
    int order[MAX_BUCKETS];
    unsigned random = c->seed + (unsigned)(comm->rank * 31 + present);
    for (int i = 0; i < c->buckets; i++) order[i] = i;
    for (int i = c->buckets - 1; i > 0; i--) {
        int j = (int)(rand_r(&random) % (unsigned)(i + 1));
        int t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    LK_RETURN_IF(lk_reducer_begin(reducer, slab, present, err));
    for (int i = 0; i < c->buckets; i++) {
        LK_RETURN_IF(lk_reducer_submit(reducer, order[i], err));
        for (unsigned polls = (unsigned)rand_r(&random) % 4; polls > 0; polls--)
            LK_RETURN_IF(lk_reducer_poll(reducer, err));
    }
    return lk_reducer_wait(reducer, err);
}

static bool in_bucket(const reduce_case *c, int64_t i) {
    for (int b = 0; b < c->buckets; b++)
        if (i >= (c->gaps ? c->begins[b] : 0) && i < c->ends[b]) return true;
    return false;
}

static void check_bits(lk_comm *comm, reduce_case *c, const char *slab, const char *guard, int present) {
    size_t size = lk_dtype_size(c->dtype);
    char expected[8], plain_total[8];
    for (int64_t i = 0; i < c->count; i++) {
        double x = NAN, plain = 0;
        bool total = in_bucket(c, i);
        lk_span own = lk_tree_share(c->leaves, comm->size, comm->rank);
        tree_value(c, total ? (lk_span){0, c->leaves} : own, present, i, &x);
        store(c, expected, 0, x);
        bool equal = memcmp(expected, slab + (size_t)i * size, size) == 0;
        if (c->exact && total) {
            for (int leaf = 0; leaf < present; leaf++) plain += leaf_value(c, leaf, i);
            store(c, plain_total, 0, plain);
            equal = equal && memcmp(plain_total, slab + (size_t)i * size, size) == 0;
        }
        if (equal) continue;
        fprintf(stderr, "rank %d of %d: element %lld of %lld, %d of %d leaves, %d buckets, %d levels: wrong bits\n",
                comm->rank, comm->size, (long long)i, (long long)c->count, present, c->leaves, c->buckets, c->levels);
        note_failure(c);
        return;
    }
    for (int i = 0; i < 64; i++)
        if (guard[i] != 0x5A) {
            fprintf(stderr, "wrote beyond the slab\n");
            note_failure(c);
            return;
        }
}

static void run_case(lk_comm *comm, void *context) {
    reduce_case *c = context;
    lk_error err = {0};
    lk_status status = LK_OK;
    lk_reducer *reducer = NULL;
    char *slab = NULL;
    size_t bytes = (size_t)c->count * lk_dtype_size(c->dtype);
    lk_reducer_config config = {.leaves = c->leaves,
                                .count = c->count,
                                .dtype = c->dtype,
                                .bucket_ends = c->ends,
                                .bucket_begins = c->gaps ? c->begins : NULL,
                                .buckets = c->buckets};
    lk_reducer_stats stats;
    lk_device device = fake_device(c->dtype);
    lk_stream lane = {0};
    LK_TRY(LK_NEW(&slab, bytes + 64, "a slab", &err));
    if (c->device) {
        LK_TRY(lk_device_comm_connect(&config.device_comm, comm, &device, fake_transport(comm, FAKE_WHOLE), &err));
        config.after = &lane;
    }
    LK_TRY(lk_reducer_create(&reducer, comm, &config, &err));
    for (int present = c->leaves; present >= 1; present--) {
        memset(slab + bytes, 0x5A, 64);
        fill_partial(c, lk_tree_share(c->leaves, comm->size, comm->rank), present, slab);
        LK_TRY(one_update(comm, c, reducer, slab, present, &err));
        check_bits(comm, c, slab, slab + bytes, present);
    }
    lk_reducer_get_stats(reducer, &stats);
    if (c->device && comm->size > 1 && config.device_comm->stream->holds != c->leaves * c->buckets) {
        fprintf(stderr, "%d of %d buckets were ordered after the lane\n", config.device_comm->stream->holds,
                c->leaves * c->buckets);
        note_failure(c);
    }
    if (stats.levels != c->levels || stats.updates != c->leaves || stats.bucket_sums != stats.updates * c->buckets) {
        fprintf(stderr, "levels %d (expected %d), updates %lld, bucket sums %lld\n", stats.levels, c->levels,
                (long long)stats.updates, (long long)stats.bucket_sums);
        note_failure(c);
    }
out:
    if (status != LK_OK) {
        fprintf(stderr, "rank %d: %s\n", comm->rank, err.message);
        note_failure(c);
    }
    lk_reducer_free(reducer);
    lk_device_comm_free(config.device_comm);
    lk_free(slab);
}

/* Levels that the shape deserves, decided here from the definition. */
static int expected_levels(int leaves, int ranks, const int *node_sizes) {
    int first = 0, largest = 0, nodes = 0;
    for (; node_sizes[nodes] > 0; nodes++) {
        int share = leaves / ranks;
        if (!lk_tree_is_node(leaves, (lk_span){first * share, node_sizes[nodes] * share})) return 1;
        first += node_sizes[nodes];
        if (node_sizes[nodes] > largest) largest = node_sizes[nodes];
    }
    return nodes > 1 && largest > 1 ? 2 : 1;
}

static void run_shape(reduce_case *c, const int *node_sizes) {
    loop_world world;
    loop_world_init(&world, node_sizes);
    if (!lk_tree_ranks_ok(c->leaves, world.size)) return;
    c->levels = expected_levels(c->leaves, world.size, node_sizes);
    pthread_mutex_init(&c->lock, NULL);
    loop_run(&world, 60, 3, run_case, c);
    assert_int_equal(c->failures, 0);
}

static const int shapes[][9] = {
    {1},       {2},       {1, 1}, {3},          {2, 1},    {1, 2},       {1, 1, 1}, {4},         {2, 2},
    {1, 1, 2}, {2, 1, 1}, {3, 1}, {1, 3},       {1, 2, 1}, {6},          {3, 3},    {2, 2, 2},   {2, 1, 2, 1},
    {3, 2, 1}, {8},       {4, 4}, {2, 2, 2, 2}, {4, 2, 2}, {4, 2, 1, 1}, {2, 2, 4}, {5, 3},      {5},
    {3, 2},    {7},       {4, 3}, {2, 2, 2, 1}, {12},      {6, 6},       {6, 3, 3}, {3, 3, 3, 3}};
#define SHAPES (sizeof shapes / sizeof shapes[0])

/* Every split into two buckets of a few elements, empty ones included. */
static void every_split(bool device) {
    static const int leaves[] = {1, 2, 3, 4, 5, 6, 7, 8, 12};
    for (size_t l = 0; l < sizeof leaves / sizeof leaves[0]; l++)
        for (size_t s = 0; s < SHAPES; s++)
            for (int64_t split = 0; split <= 35; split += device ? 7 : s % 3 == 0 ? 1 : 5) {
                reduce_case c = {.leaves = leaves[l],
                                 .buckets = 2,
                                 .count = 35,
                                 .dtype = (split + (int64_t)s) % 2 == 0 ? LK_F32 : LK_F64,
                                 .exact = split % 3 == 0,
                                 .device = device,
                                 .seed = (unsigned)(split + 100 * (int64_t)l)};
                c.ends[0] = split;
                c.ends[1] = 35;
                run_shape(&c, shapes[s]);
            }
}

static void test_every_split(void **state) {
    (void)state;
    every_split(false);
}

static void test_every_split_on_device(void **state) {
    (void)state;
    every_split(true);
}

/* Buckets with nothing between some of them, at the start and at the end: frozen parameters. */
static void test_gaps(void **state) {
    (void)state;
    for (size_t s = 0; s < SHAPES; s++)
        for (int64_t gap = 0; gap <= 6; gap += 3) {
            reduce_case c = {.leaves = 12,
                             .buckets = 3,
                             .count = 40,
                             .dtype = gap == 3 ? LK_F32 : LK_F64,
                             .exact = s % 2 == 0,
                             .gaps = true,
                             .begins = {gap, 9, 20 + gap},
                             .ends = {9, 20, 40 - gap},
                             .seed = (unsigned)(s + 50 * (size_t)gap)};
            run_shape(&c, shapes[s]);
        }
}

/* Slabs beyond the block of a sum, in 1 to 40 buckets at odd places. */
static void test_large(void **state) {
    (void)state;
    static const int splits[] = {1, 2, 7, 40};
    for (size_t s = 0; s < SHAPES; s++)
        for (size_t k = 0; k < 6; k++) {
            int ranks = 0;
            for (int i = 0; shapes[s][i] > 0; i++) ranks += shapes[s][i];
            reduce_case c = {.leaves = ranks == 5 || ranks == 7  ? ranks
                                       : ranks * 2 <= MAX_LEAVES ? ranks * 2
                                                                 : ranks,
                             .buckets = splits[k % 4],
                             .device = k >= 4, /* 1 and 2 buckets */
                             .count = MAX_COUNT / ranks,
                             .dtype = (s + k) % 2 == 0 ? LK_F32 : LK_F64,
                             .seed = (unsigned)(s * 10 + k)};
            if (!lk_tree_ranks_ok(c.leaves, ranks)) c.leaves = ranks;
            for (int b = 0; b < c.buckets; b++) c.ends[b] = c.count * (b + 1) / c.buckets;
            run_shape(&c, shapes[s]);
        }
}

/* The oracle is not blind: for these data another order gives other bits, and so does adding zero to -0. */
static void test_order_shows(void **state) {
    (void)state;
    reduce_case c = {.leaves = 4, .dtype = LK_F32, .seed = 3};
    int differing = 0;
    for (int64_t i = 0; i < 1000; i++) {
        double x = 0;
        float flat = 0;
        assert_true(tree_value(&c, (lk_span){0, 4}, 4, i, &x));
        for (int leaf = 0; leaf < 4; leaf++) flat += (float)leaf_value(&c, leaf, i);
        differing += (float)x != flat;
    }
    assert_true(differing > 50);
}

static void negative_zero_rank(lk_comm *comm, void *context) {
    int *wrong = context;
    lk_error err = {0};
    lk_reducer *reducer = NULL;
    float slab[32];
    int64_t end = 32;
    lk_reducer_config config = {.leaves = 4, .count = 32, .dtype = LK_F32, .bucket_ends = &end, .buckets = 1};
    for (int i = 0; i < 32; i++) slab[i] = -0.0f;
    lk_status status = lk_reducer_create(&reducer, comm, &config, &err);
    if (status == LK_OK) status = lk_reducer_begin(reducer, slab, 1, &err);
    if (status == LK_OK) status = lk_reducer_submit(reducer, 0, &err);
    if (status == LK_OK) status = lk_reducer_wait(reducer, &err);
    for (int i = 0; i < 32; i++)
        if (status != LK_OK || !signbit(slab[i])) wrong[comm->rank] = 1;
    lk_reducer_free(reducer);
}

/* Absent shares are skipped, not added as zero: -0 stays -0. */
static void test_negative_zero(void **state) {
    (void)state;
    int wrong[4] = {0};
    loop_world world;
    loop_world_init(&world, (int[]){2, 2, 0});
    loop_run(&world, 60, 2, negative_zero_rank, wrong);
    for (int rank = 0; rank < 4; rank++) assert_int_equal(wrong[rank], 0);
}

static void test_misuse(void **state) {
    (void)state;
    lk_error err = {0};
    lk_comm *comm = NULL;
    lk_reducer *reducer = NULL;
    float slab[8] = {0};
    int64_t ends[2] = {4, 8};
    lk_reducer_config config = {.leaves = 3, .count = 8, .dtype = LK_F32, .bucket_ends = ends, .buckets = 2};
    assert_int_equal(lk_comm_self_create(&comm, &err), LK_OK);
    assert_int_equal(lk_reducer_create(&reducer, comm, &config, &err), LK_OK);
    assert_int_equal(lk_reducer_submit(reducer, 0, &err), LK_ERR_INTERNAL); /* P7: outside of an update */
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_wait(reducer, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_begin(reducer, slab, 0, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_begin(reducer, slab, 4, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_begin(reducer, slab, 2, &err), LK_OK);
    assert_int_equal(lk_reducer_begin(reducer, slab, 2, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_submit(reducer, 1, &err), LK_OK);
    assert_int_equal(lk_reducer_submit(reducer, 1, &err), LK_ERR_INTERNAL); /* twice */
    assert_non_null(strstr(err.message, "bucket 1 was submitted twice"));
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_submit(reducer, 2, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_wait(reducer, &err), LK_ERR_INTERNAL); /* bucket 0 is missing */
    assert_non_null(strstr(err.message, "bucket 0 was never submitted"));
    lk_error_clear(&err);
    assert_int_equal(lk_reducer_submit(reducer, 0, &err), LK_OK);
    assert_int_equal(lk_reducer_wait(reducer, &err), LK_OK);
    lk_reducer_free(reducer);
    ends[1] = 7;
    assert_int_equal(lk_reducer_create(&reducer, comm, &config, &err), LK_ERR_INTERNAL);
    assert_null(reducer);
    lk_error_clear(&err);
    config.bucket_begins = (int64_t[]){0, 3}; /* inside the bucket before */
    assert_int_equal(lk_reducer_create(&reducer, comm, &config, &err), LK_ERR_INTERNAL);
    lk_error_clear(&err);
    ends[1] = 9; /* behind the slab */
    config.bucket_begins = (int64_t[]){0, 5};
    assert_int_equal(lk_reducer_create(&reducer, comm, &config, &err), LK_ERR_INTERNAL);
    lk_reducer_free(NULL);
    lk_comm_free(comm);
}

static void bad_count_rank(lk_comm *comm, void *context) {
    lk_error *errors = context;
    lk_reducer *reducer = NULL;
    int64_t end = 8;
    lk_reducer_config config = {.leaves = 12, .count = 8, .dtype = LK_F32, .bucket_ends = &end, .buckets = 1};
    if (lk_reducer_create(&reducer, comm, &config, &errors[comm->rank]) != LK_ERR_CONFIG)
        errors[comm->rank].status = LK_OK;
    lk_reducer_free(reducer);
}

static void test_rank_count(void **state) {
    (void)state;
    lk_error errors[3] = {{0}};
    loop_world world;
    loop_world_init(&world, (int[]){3, 0});
    loop_run(&world, 60, 0, bad_count_rank, errors);
    for (int rank = 0; rank < 3; rank++) {
        assert_int_equal(errors[rank].status, LK_ERR_CONFIG);
        assert_non_null(strstr(errors[rank].message, "1, 2, 4, 12"));
    }
}

typedef struct broken_link {
    fake_fault fault;
    lk_error errors[3];
} broken_link;

static void broken_link_rank(lk_comm *comm, void *context) {
    broken_link *link = context;
    lk_device_comm *device_comm = NULL;
    lk_device device = fake_device(LK_F32);
    lk_transport *transport = fake_transport(comm, comm->rank == 1 ? link->fault : FAKE_WHOLE);
    lk_error *err = &link->errors[comm->rank];
    if (lk_device_comm_connect(&device_comm, comm, &device, transport, err) != LK_OK && device_comm != NULL)
        err->status = LK_OK;
    lk_device_comm_free(device_comm);
}

/* A link that brings wrong bytes, or fails, is found before training. */
static void test_broken_link(void **state) {
    (void)state;
    broken_link mixed = {.fault = FAKE_MIXES_UP}, failed = {.fault = FAKE_FAILS};
    loop_world world;
    loop_world_init(&world, (int[]){2, 1, 0});
    loop_run(&world, 60, 0, broken_link_rank, &mixed);
    assert_non_null(strstr(mixed.errors[0].message, "fake link brought rank 0 wrong bytes from rank 1 (alpha)"));
    assert_non_null(strstr(mixed.errors[2].message, "fake link brought rank 2 wrong bytes from rank 1 (alpha)"));
    loop_world_init(&world, (int[]){1, 1, 1, 0});
    loop_run(&world, 2, 0, broken_link_rank, &failed);
    assert_int_equal(failed.errors[1].status, LK_ERR_COMM);
    assert_string_equal(failed.errors[1].message, "a cable was pulled");
    assert_int_equal(failed.errors[0].status, LK_ERR_COMM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_shows), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_rank_count),  cmocka_unit_test(test_negative_zero),
        cmocka_unit_test(test_every_split), cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_large),       cmocka_unit_test(test_every_split_on_device),
        cmocka_unit_test(test_broken_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
