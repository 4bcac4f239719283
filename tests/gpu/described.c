/* gpu_described MODEL PIXELS BATCH float32|bfloat16|float16: plans a model on the CUDA device, over the stand-in GPU,
 * and for a GPU that is only described, and compares the two plans call by call. Prints what differs; status 1 where
 * anything does: src/device/described/info.c then says what an op of src/device/cuda no longer does. Needs
 * LOCKSTEP_MODULES. */
#include "device/described/described.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/model.h"
#include "nn/plan.h"

#define MOST_ARENA_SHARE 0.03 /* of the arena: workspaces of the libraries, which a description does not know */

#define MOST_ALL_BYTES_SHARE 0.01
#define MOST_BYTES_SHARE 0.1 /* of a call's bytes: partial sums, whose number is the kernels' own affair */

static int differ(const lk_plan_call *a, const lk_plan_call *b, const char *what, double x, double y, double share) {
    if (fabs(x - y) <= share * fabs(x)) return 0;
    printf("%s of %s, %s: %g on the device, %g by description\n", a->backward ? "backward" : "forward", b->layer, what,
           x, y);
    return 1;
}

static int compare_calls(const lk_plan *real, const lk_plan *described) {
    int wrong = 0, numbers = lk_plan_call_numbers(real);
    if (lk_plan_call_numbers(described) != numbers) {
        printf("%d calls on the device, %d by description\n", numbers, lk_plan_call_numbers(described));
        return 1;
    }
    for (int i = 0; i < numbers; i++) {
        lk_plan_call a, b;
        bool has_a = lk_plan_get_call(real, i, &a), has_b = lk_plan_get_call(described, i, &b);
        wrong += has_a != has_b;
        if (!has_a || !has_b) continue;
        wrong += strcmp(a.layer, b.layer) != 0;
        wrong += differ(&a, &b, "launches", a.launches, b.launches, 0);
        wrong += strcmp(a.op, b.op) != 0;
        /* What finishes gradients reads little but partial sums. */
        if (strcmp(a.op, "finish gradients") != 0) wrong += differ(&a, &b, "bytes", a.bytes, b.bytes, MOST_BYTES_SHARE);
        wrong += differ(&a, &b, "bytes of operands", a.operand_bytes, b.operand_bytes, MOST_BYTES_SHARE);
        wrong += differ(&a, &b, "operations", a.flops, b.flops, 1e-9);
    }
    return wrong;
}

static int compare_totals(const lk_plan *real, const lk_plan *described) {
    lk_plan_totals a, b;
    lk_plan_get_totals(real, &a);
    lk_plan_get_totals(described, &b);
    printf("arena %" PRId64 " on the device, %" PRId64 " by description; slab %" PRId64 ", %" PRId64
           "; derived %" PRId64 ", %" PRId64 "\n",
           a.arena_bytes, b.arena_bytes, a.slab_count, b.slab_count, a.derived_bytes, b.derived_bytes);
    bool arena = fabs((double)(a.arena_bytes - b.arena_bytes)) <= MOST_ARENA_SHARE * (double)a.arena_bytes;
    bool bytes = fabs(a.bytes - b.bytes) <= MOST_ALL_BYTES_SHARE * a.bytes;
    return !arena + !bytes + (a.slab_count != b.slab_count) + (a.derived_bytes != b.derived_bytes) +
           (a.stats_count != b.stats_count) + (a.params != b.params);
}

static lk_status compile(lk_plan **plan, const lk_graph *graph, lk_device *device, char **argv, bool training,
                         lk_error *err) {
    lk_plan_options options = {.batch = strtoll(argv[3], NULL, 10), .training = training};
    options.compute = strcmp(argv[4], "bfloat16") == 0 ? LK_BF16 : strcmp(argv[4], "float16") == 0 ? LK_F16 : LK_F32;
    return lk_plan_create(plan, graph, device, &options, err);
}

static lk_status compare(int *wrong, lk_device *real, lk_device *described, const lk_graph *graph, char **argv,
                         bool training, lk_error *err) {
    lk_status status = LK_OK;
    lk_plan *plans[2] = {NULL, NULL};
    LK_TRY(compile(&plans[0], graph, real, argv, training, err));
    LK_TRY(compile(&plans[1], graph, described, argv, training, err));
    *wrong += compare_calls(plans[0], plans[1]) + compare_totals(plans[0], plans[1]);
out:
    lk_plan_free(plans[0]);
    lk_plan_free(plans[1]);
    return status;
}

int main(int argc, char **argv) {
    lk_status status = LK_OK;
    lk_error err = {0};
    lk_device *real = NULL, *described = NULL;
    lk_graph *graph = NULL;
    lk_node_id loss;
    int wrong = 0;
    lk_model_spec spec = {.channels = 3, .classes = 10, .std = {1, 1, 1}, .dropout = 0.2, .drop_path = 0.2};
    if (argc != 5) {
        fprintf(stderr, "usage: gpu_described MODEL PIXELS BATCH float32|bfloat16|float16\n");
        return 2;
    }
    spec.h = spec.w = strtoll(argv[2], NULL, 10);
    LK_TRY(lk_device_create(&real, "cuda", 1, &err));
    LK_TRY(lk_device_described_create(&described, lk_gpu_kind_find("h100"), &err));
    LK_TRY(lk_model_build(&graph, argv[1], &spec, &err));
    LK_TRY(lk_graph_cross_entropy(graph, &loss, 0.1, &err));
    LK_TRY(compare(&wrong, real, described, graph, argv, true, &err));
    LK_TRY(compare(&wrong, real, described, graph, argv, false, &err));
out:
    if (status != LK_OK) fprintf(stderr, "gpu_described: %s\n", err.message);
    lk_graph_free(graph);
    lk_device_free(described);
    lk_device_free(real);
    return status == LK_OK && wrong == 0 ? 0 : 1;
}
