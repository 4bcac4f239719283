/* gpu_graphs MODEL BATCH TYPE...: asks the real cuDNN, without a GPU, for an engine for each convolution of a model, in
 * all passes, for an H100 by its description. Prints a line each; status 1 where one is refused. A library that crashes
 * or hangs on a graph is seen: every graph has a process of its own. Needs a libcuda.so.1 that loads (driver.py). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/cuda/conv_engine.h"
#include "device/cuda/cuda_internal.h"
#include "device/gpu_kinds.h"
#include "nn/model.h"

#define MOST_GRAPHS 512
#define SECONDS 120 /* for one graph */

typedef struct graph {
    lk_op_desc desc;
    lk_cudnn_pass pass;
} graph;

static lk_status describe_device(cudnnBackendDescriptor_t *out, lk_error *err) {
    lk_status status = LK_OK;
    const lk_gpu_kind *kind = lk_gpu_kind_find("h100");
    LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, out));
    LK_CUDNN(cudnnBackendSetAttribute(*out, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                      (int64_t)strlen(kind->properties), kind->properties));
    LK_CUDNN(cudnnBackendFinalize(*out));
out:
    return status;
}

static lk_status ask(const graph *g, lk_error *err) {
    lk_status status = LK_OK;
    lk_cudnn_conv shape;
    lk_cudnn_target target = {0};
    lk_cudnn_plan plan = {0};
    lk_cuda_conv_shape(&shape, &g->desc);
    LK_TRY(describe_device(&target.device, err));
    LK_TRY(lk_cuda_conv_engine(&plan, &shape, &target, g->pass, err));
    printf("ok %s %s: %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " to %" PRId64 ", %" PRId64 " x %" PRId64
           ", stride %" PRId64 ", groups %" PRId64 "%s: %s, workspace %" PRId64 "\n",
           lk_dtype_name(g->desc.compute), lk_cudnn_pass_name(g->pass), shape.n, shape.c, shape.h, shape.w, shape.k,
           shape.kernel_h, shape.kernel_w, shape.stride, shape.groups, shape.bf16_dweight ? " in bf16" : "", plan.name,
           plan.workspace_bytes);
out:
    lk_cudnn_plan_free(&plan);
    if (target.device != NULL) (void)cudnnBackendDestroyDescriptor(target.device);
    return status;
}

/* In a process of its own. */
static bool ask_apart(const graph *g) {
    int state = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        lk_error err = {0};
        alarm(SECONDS);
        lk_status status = ask(g, &err);
        if (status != LK_OK) printf("refused: %s\n", err.message);
        fflush(stdout);
        _exit(status == LK_OK ? 0 : 1);
    }
    if (child > 0 && waitpid(child, &state, 0) == child && WIFEXITED(state)) return WEXITSTATUS(state) == 0;
    printf("refused: the library ended by signal %d on %s of %" PRId64 " channels\n", WTERMSIG(state),
           lk_cudnn_pass_name(g->pass), g->desc.x.c);
    return false;
}

static bool known(const graph *graphs, int count, const graph *g) {
    for (int i = 0; i < count; i++)
        if (graphs[i].pass == g->pass && memcmp(&graphs[i].desc, &g->desc, sizeof g->desc) == 0) return true;
    return false;
}

/* The model's convolutions as the device's plan would describe them. */
static int collect(graph *graphs, const lk_graph *model, int64_t batch, lk_dtype type) {
    int count = 0;
    for (int i = 0; i < model->count; i++) {
        const lk_node *node = &model->nodes[i];
        if (node->op.kind != LK_OP_CONV2D) continue;
        const lk_node *x = &model->nodes[node->x];
        for (int pass = 0; pass < LK_CUDNN_PASSES; pass++) {
            graph g;
            memset(&g, 0, sizeof g); /* compared with memcmp */
            g.desc.kind = LK_OP_CONV2D;
            g.desc.compute = type;
            g.desc.x = (lk_act_desc){type, batch, x->c, x->h, x->w, lk_cuda_block(x->c, type)};
            g.desc.conv = node->op.conv;
            g.pass = (lk_cudnn_pass)pass;
            bool first = x->op.kind == LK_OP_INPUT && pass == LK_CUDNN_DATA; /* nobody wants it */
            if (!first && count < MOST_GRAPHS && !known(graphs, count, &g)) graphs[count++] = g;
        }
    }
    return count;
}

int main(int argc, char **argv) {
    static graph graphs[MOST_GRAPHS];
    lk_error err = {0};
    lk_graph *model = NULL;
    lk_model_spec spec = {.channels = 3, .h = 224, .w = 224, .classes = 1000, .std = {1, 1, 1}};
    int asked = 0, refused = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: gpu_graphs MODEL BATCH float32|bfloat16 ...\n");
        return 2;
    }
    if (lk_model_build(&model, argv[1], &spec, &err) != LK_OK) {
        fprintf(stderr, "gpu_graphs: %s\n", err.message);
        return 2;
    }
    for (int t = 3; t < argc; t++) {
        lk_dtype type = strcmp(argv[t], "bfloat16") == 0 ? LK_BF16 : LK_F32;
        int count = collect(graphs, model, strtoll(argv[2], NULL, 10), type);
        for (int i = 0; i < count; i++) refused += !ask_apart(&graphs[i]);
        asked += count;
    }
    printf("%s on cuDNN %zu: %d graphs, %d refused\n", argv[1], cudnnGetVersion(), asked, refused);
    lk_graph_free(model);
    return refused == 0 && asked > 0 ? 0 : 1;
}
