/* The sums of a rank's microbatches (P5): whatever the order of events, on however many lanes and ranks, the bits are
 * those of the sum written down as the design says it, a tree over chains; with as many slabs as lk_tree_slabs says. */
#include <string.h>

#include "device/device.h"
#include "tests/unit/unit.h"
#include "train/gradient_tree.h"

enum { MOST = 24, BUCKETS = 3, COUNT = 7, MOST_LANES = 5 };

static const int64_t BUCKET_BEGINS[BUCKETS] = {0, 2, 3}, BUCKET_ENDS[BUCKETS] = {2, 3, COUNT};

static void assert_ok(lk_status status, const lk_error *err) {
    if (status != LK_OK) print_error("%s\n", err->message);
    assert_int_equal(status, LK_OK);
}

/* Values whose sum depends on its order. */
static double gradient(int leaf, int i) { return 1.0 / (3.0 + 7 * leaf + i) * (leaf % 3 == 0 ? 1e9 : -1.7); }

/* The sum of chains [first, first + count), as DESIGN says it: false where none of its microbatches exists. */
static bool expect(double *sum, int first, int count, int chain, int present) {
    if (first * chain >= present) return false;
    if (count == 1) {
        for (int i = 0; i < COUNT; i++) sum[i] = gradient(first * chain, i);
        for (int leaf = first * chain + 1; leaf < (first + 1) * chain && leaf < present; leaf++)
            for (int i = 0; i < COUNT; i++) sum[i] += gradient(leaf, i);
        return true;
    }
    double right[COUNT];
    int left = (count + 1) / 2;
    if (!expect(sum, first, left, chain, present)) return false;
    if (!expect(right, first + left, count - left, chain, present)) return true;
    for (int i = 0; i < COUNT; i++) sum[i] += right[i];
    return true;
}

static unsigned draw(unsigned *state, unsigned below) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

/* Takes slabs for the leaves of a round in any order and completes their buckets in any order. */
static void run_round(lk_gradient_tree *tree, int first, int count, unsigned *random, lk_error *err) {
    double *slabs[MOST_LANES] = {NULL};
    bool complete[MOST_LANES][BUCKETS] = {{false}};
    for (int taken = 0; taken < count;) {
        int i = (int)draw(random, (unsigned)count);
        if (slabs[i] != NULL) continue;
        void *slab = NULL;
        assert_ok(lk_gradient_tree_take(tree, first + i, &slab, err), err);
        slabs[i] = slab;
        taken++;
    }
    for (int done = 0; done < count * BUCKETS;) {
        int i = (int)draw(random, (unsigned)count), bucket = (int)draw(random, BUCKETS);
        if (complete[i][bucket]) continue;
        for (int64_t k = BUCKET_BEGINS[bucket]; k < BUCKET_ENDS[bucket]; k++) slabs[i][k] = gradient(first + i, (int)k);
        complete[i][bucket] = true;
        done++;
        assert_ok(lk_gradient_tree_complete(tree, NULL, first + i, bucket, err), err);
    }
}

typedef struct shape {
    int leaves, chain, ranks, lanes, present;
} shape;

static void check_share(lk_device *device, shape s, int rank, unsigned *random) {
    lk_error err = {0};
    lk_gradient_tree tree;
    lk_span share = lk_tree_share(s.leaves, s.ranks, rank);
    assert_ok(lk_gradient_tree_create(&tree, device, s.leaves, s.chain, share, s.lanes, COUNT, BUCKET_BEGINS,
                                      BUCKET_ENDS, BUCKETS, &err),
              &err);
    for (int again = 0; again < 2; again++) { /* slabs are free again in the next window */
        lk_gradient_tree_begin(&tree, s.present);
        int end = share.first + share.count < s.present ? share.first + share.count : s.present, taken = 0;
        for (int first = share.first; first < end; first += s.lanes) {
            run_round(&tree, first, end - first < s.lanes ? end - first : s.lanes, random, &err);
            if (first + s.lanes < end) assert_int_equal(lk_gradient_tree_next(&tree, &taken), -1);
        }
        double sum[COUNT];
        bool any = expect(sum, share.first / s.chain, share.count / s.chain, s.chain, s.present);
        bool seen[BUCKETS] = {false};
        for (int bucket, i = 0; (bucket = lk_gradient_tree_next(&tree, &taken)) >= 0; i++) {
            assert_true(i < BUCKETS && !seen[bucket]);
            seen[bucket] = true;
        }
        for (int bucket = 0; bucket < BUCKETS; bucket++) assert_int_equal(seen[bucket], any);
        if (any) assert_memory_equal(tree.slabs[0], sum, sizeof sum);
    }
    lk_gradient_tree_free(&tree);
}

static void test_any_order_of_events(void **state) {
    (void)state;
    lk_device *device;
    lk_error err = {0};
    unsigned random = 1;
    static const int chains[][2] = {{8, 1}, {8, 2}, {8, 4}, {8, 8}, {12, 4}, {6, 2}, {15, 3}, {24, 6}, {1, 1}, {5, 5}};
    assert_ok(lk_device_create(&device, "reference", 1, &err), &err);
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
        for (int ranks = 1; ranks <= chains[i][0]; ranks++) {
            if (!lk_tree_ranks_ok(chains[i][0] / chains[i][1], ranks)) continue;
            for (int lanes = 1; lanes <= MOST_LANES; lanes++)
                for (int present = 1; present <= chains[i][0]; present++)
                    for (int rank = 0; rank < ranks; rank++)
                        check_share(device, (shape){chains[i][0], chains[i][1], ranks, lanes, present}, rank, &random);
        }
    lk_device_free(device);
}

/* The comparison can fail: another chain gives other bits. */
static void test_the_chain_matters(void **state) {
    (void)state;
    double tree[COUNT], halves[COUNT], one[COUNT];
    assert_true(expect(tree, 0, 8, 1, 8) && expect(halves, 0, 2, 4, 8) && expect(one, 0, 1, 8, 8));
    assert_memory_not_equal(tree, halves, sizeof tree);
    assert_memory_not_equal(halves, one, sizeof tree);
    assert_memory_not_equal(tree, one, sizeof tree);
}

static void test_too_many_at_once(void **state) {
    (void)state;
    lk_device *device;
    lk_error err = {0};
    lk_gradient_tree tree;
    void *slab;
    assert_ok(lk_device_create(&device, "reference", 1, &err), &err);
    assert_ok(lk_gradient_tree_create(&tree, device, 8, 8, (lk_span){0, 8}, 1, COUNT, BUCKET_BEGINS, BUCKET_ENDS,
                                      BUCKETS, &err),
              &err);
    assert_int_equal(tree.slab_total, 2);
    lk_gradient_tree_begin(&tree, 8);
    for (int leaf = 0; leaf < 2; leaf++) assert_ok(lk_gradient_tree_take(&tree, leaf, &slab, &err), &err);
    assert_int_equal(lk_gradient_tree_take(&tree, 2, &slab, &err), LK_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "leaf 2"));
    lk_gradient_tree_free(&tree);
    lk_device_free(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order_of_events),
        cmocka_unit_test(test_the_chain_matters),
        cmocka_unit_test(test_too_many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
