/* The fixed tree of microbatches (P5): its nodes, the rank counts that work, the slabs that a rank needs. */
#include <string.h>

#include "core/tree.h"
#include "tests/unit/unit.h"

enum { MOST = 64 };

/* Marks every node of the tree by the definition: k leaves split into ceil(k/2) and floor(k/2). */
static void mark_nodes(bool nodes[MOST + 1][MOST + 1], int first, int count) {
    nodes[first][count] = true;
    if (count == 1) return;
    mark_nodes(nodes, first, (count + 1) / 2);
    mark_nodes(nodes, first + (count + 1) / 2, count / 2);
}

static void test_children(void **state) {
    (void)state;
    for (int count = 2; count <= MOST; count++) {
        lk_span node = {5, count}, left = lk_tree_left(node), right = lk_tree_right(node);
        assert_int_equal(left.count, (count + 1) / 2);
        assert_int_equal(right.count, count / 2);
        assert_int_equal(left.first, 5);
        assert_int_equal(right.first, 5 + left.count);
    }
}

static void test_nodes(void **state) {
    (void)state;
    for (int leaves = 1; leaves <= MOST; leaves++) {
        bool nodes[MOST + 1][MOST + 1] = {{false}};
        mark_nodes(nodes, 0, leaves);
        for (int first = 0; first < leaves; first++)
            for (int count = 1; first + count <= leaves; count++)
                assert_int_equal(lk_tree_is_node(leaves, (lk_span){first, count}), nodes[first][count]);
    }
}

/* Spans that are none: the answer is no, and it comes. */
static void test_no_spans(void **state) {
    (void)state;
    static const lk_span wrong[] = {{0, 0}, {0, -1}, {-1, 1}, {4, 1}, {0, 5}, {3, 2}, {-2, 2}, {100, 100}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) assert_false(lk_tree_is_node(4, wrong[i]));
    assert_false(lk_tree_is_node(0, (lk_span){0, 1}));
}

static void check_parents(int leaves, lk_span node) {
    if (node.count == 1) return;
    lk_span children[2] = {lk_tree_left(node), lk_tree_right(node)};
    for (int i = 0; i < 2; i++) {
        lk_span parent = lk_tree_parent(leaves, children[i]);
        assert_int_equal(parent.first, node.first);
        assert_int_equal(parent.count, node.count);
        check_parents(leaves, children[i]);
    }
}

static void test_parent(void **state) {
    (void)state;
    for (int leaves = 1; leaves <= MOST; leaves++) {
        lk_span root = {0, leaves}, parent = lk_tree_parent(leaves, root);
        assert_int_equal(parent.first, 0);
        assert_int_equal(parent.count, leaves);
        check_parents(leaves, root);
    }
}

static void test_ranks(void **state) {
    (void)state;
    for (int leaves = 1; leaves <= MOST; leaves++) {
        bool nodes[MOST + 1][MOST + 1] = {{false}};
        mark_nodes(nodes, 0, leaves);
        for (int ranks = -1; ranks <= MOST + 1; ranks++) {
            bool ok = ranks >= 1 && ranks <= leaves && leaves % ranks == 0;
            for (int rank = 0; ok && rank < ranks; rank++) ok = nodes[rank * (leaves / ranks)][leaves / ranks];
            assert_int_equal(lk_tree_ranks_ok(leaves, ranks), ok);
        }
        /* P5: always the powers of two that divide the leaves. */
        for (int ranks = 1; leaves % ranks == 0; ranks *= 2) assert_true(lk_tree_ranks_ok(leaves, ranks));
    }
}

static void test_shares(void **state) {
    (void)state;
    int next = 0;
    for (int rank = 0; rank < 4; rank++) {
        lk_span share = lk_tree_share(12, 4, rank);
        assert_int_equal(share.first, next);
        assert_int_equal(share.count, 3);
        next += share.count;
    }
}

static void test_print(void **state) {
    (void)state;
    char text[64];
    assert_string_equal(lk_tree_ranks_print(8, text, sizeof text), "1, 2, 4, 8");
    assert_string_equal(lk_tree_ranks_print(12, text, sizeof text), "1, 2, 4, 12");
    assert_string_equal(lk_tree_ranks_print(7, text, sizeof text), "1, 7");
    assert_string_equal(lk_tree_ranks_print(1, text, sizeof text), "1");
    text[6] = 'x';
    lk_tree_ranks_print(64, text, 6); /* too small: cut, terminated, nothing beyond */
    assert_string_equal(text, "1, 2,");
    assert_int_equal(text[6], 'x');
}

/* Slabs held when exactly the leaves before `done` are summed: nodes that are whole while their parent isn't. */
static int slabs_held(lk_span node, int done) {
    if (node.first >= done) return 0;
    if (node.first + node.count <= done) return 1;
    return slabs_held(lk_tree_left(node), done) + slabs_held(lk_tree_right(node), done);
}

/* A part of the tree over chains, [first, first + count) of microbatches, and the sums that make it. */
static void check_chain_parents(int microbatches, int chain, lk_span node) {
    if (node.count == 1) return;
    lk_span left = {node.first, node.count - 1}, right = {node.first + node.count - 1, 1}; /* within a chain */
    if (node.count > chain) {
        lk_span chains = {node.first / chain, node.count / chain}, l = lk_tree_left(chains), r = lk_tree_right(chains);
        left = (lk_span){l.first * chain, l.count * chain};
        right = (lk_span){r.first * chain, r.count * chain};
    }
    lk_span operands[2] = {left, right};
    for (int i = 0; i < 2; i++) {
        int at = -1;
        lk_span parent = lk_tree_chain_parent(microbatches, chain, operands[i], &at);
        assert_int_equal(parent.first, node.first);
        assert_int_equal(parent.count, node.count);
        assert_int_equal(at, right.first);
        check_chain_parents(microbatches, chain, operands[i]);
    }
}

static void test_chain_parents(void **state) {
    (void)state;
    for (int chain = 1; chain <= 6; chain++)
        for (int chains = 1; chains * chain <= MOST; chains++)
            check_chain_parents(chains * chain, chain, (lk_span){0, chains * chain});
}

/* Lanes run rounds of as many leaves: what is held before a round, and one slab for each leaf of it. */
static void test_slabs(void **state) {
    (void)state;
    for (int count = 1; count <= MOST; count++)
        for (int lanes = 1; lanes <= 9; lanes++) {
            lk_span node = {3, count};
            int most = 0;
            for (int round = 0; round < count; round += lanes) {
                int running = count - round < lanes ? count - round : lanes;
                int slabs = slabs_held(node, 3 + round) + running;
                if (slabs > most) most = slabs;
            }
            assert_true(lk_tree_slabs(node, 1, lanes) >= most);
            if (lanes == 1) assert_int_equal(lk_tree_slabs(node, 1, 1), most);
            assert_true(lk_tree_slabs(node, 1, lanes) <= count);
        }
    assert_int_equal(lk_tree_slabs((lk_span){0, 1}, 1, 1), 1);
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 1, 1), 4); /* log2(8) + 1 */
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 1, 8), 8);
}

/* The same over chains: a chain that has begun holds one slab. */
static void test_slabs_of_chains(void **state) {
    (void)state;
    for (int chain = 2; chain <= 6; chain++)
        for (int chains = 1; chains * chain <= MOST; chains++)
            for (int lanes = 1; lanes <= 9; lanes++) {
                lk_span node = {3 * chain, chains * chain};
                int most = 0;
                for (int round = 0; round < node.count; round += lanes) {
                    int running = node.count - round < lanes ? node.count - round : lanes;
                    int held = slabs_held((lk_span){3, chains}, 3 + round / chain) + (round % chain > 0);
                    if (held + running > most) most = held + running;
                }
                assert_true(lk_tree_slabs(node, chain, lanes) >= most);
                if (lanes == 1) assert_int_equal(lk_tree_slabs(node, chain, 1), most);
                assert_true(lk_tree_slabs(node, chain, lanes) <= node.count);
            }
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 8, 1), 2); /* the sum, and the one that is added to it */
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 4, 1), 3);
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 2, 1), 4); /* log2(4) + 2: a chain of two is a tree of two */
    assert_int_equal(lk_tree_slabs((lk_span){0, 8}, 8, 2), 3);
    assert_int_equal(lk_tree_slabs((lk_span){0, 32}, 1, 1), 6);
    assert_int_equal(lk_tree_slabs((lk_span){0, 32}, 8, 1), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_children),        cmocka_unit_test(test_nodes), cmocka_unit_test(test_no_spans),
        cmocka_unit_test(test_parent),          cmocka_unit_test(test_ranks), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_print),           cmocka_unit_test(test_slabs), cmocka_unit_test(test_chain_parents),
        cmocka_unit_test(test_slabs_of_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
