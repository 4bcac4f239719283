/* gpu_graphs MODEL[,MODEL...]|all BATCH float32|tf32|bfloat16|float16 [forward] [EVERY]: asks the real cuDNN, without a
 * GPU, for an engine for each convolution of the models at their own sizes, in all passes or forward alone, for an H100
 * by its description; a graph that several layers share is asked for once, and only each EVERY-th is. What own kernels
 * compute is left out. Prints a line each, then the sum and the largest of the workspaces; status 1 where one is
 * refused. A library that crashes or hangs on a graph is seen: every graph has a process of its own. Needs a
 * libcuda.so.1 that loads (test_deviceless.py makes one). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "device/cuda/conv_engine.h"
#include "device/cuda/cuda_internal.h"
#include "device/gpu_kinds.h"
#include "nn/model.h"

#define MOST_GRAPHS 8192
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

/* What a checkpoint would record makes the same plan. */
static lk_status take_again(const lk_cudnn_plan *plan, const lk_cudnn_conv *shape, const lk_cudnn_target *target,
                            lk_cudnn_pass pass, lk_error *err) {
    lk_cudnn_plan again = {0};
    lk_cudnn_conv same = *shape;
    same.short_dweight = false;
    LK_RETURN_IF(lk_cuda_conv_engine(&again, &same, target, pass, plan->choice, err));
    bool equal = strcmp(again.choice, plan->choice) == 0 && same.short_dweight == shape->short_dweight &&
                 again.workspace_bytes == plan->workspace_bytes;
    lk_status status = equal ? LK_OK
                             : lk_fail(err, LK_ERR_DEVICE, "'%s' with %" PRId64 " bytes became '%s' with %" PRId64,
                                       plan->choice, plan->workspace_bytes, again.choice, again.workspace_bytes);
    lk_cudnn_plan_free(&again);
    return status;
}

static lk_status ask(const graph *g, int64_t *bytes, lk_error *err) {
    lk_status status = LK_OK;
    lk_cudnn_conv shape;
    lk_cudnn_target target = {0};
    lk_cudnn_plan plan = {0};
    lk_cuda_conv_shape(&shape, &g->desc);
    LK_TRY(describe_device(&target.device, err));
    LK_TRY(lk_cuda_conv_engine(&plan, &shape, &target, g->pass, NULL, err));
    LK_TRY(take_again(&plan, &shape, &target, g->pass, err));
    printf("ok %s %s: %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " to %" PRId64 ", %" PRId64 " x %" PRId64
           ", stride %" PRId64 ", groups %" PRId64 "%s: %s (%s), workspace %" PRId64 "\n",
           lk_dtype_name(g->desc.compute), lk_cudnn_pass_name(g->pass), shape.n, shape.c, shape.h, shape.w, shape.k,
           shape.kernel_h, shape.kernel_w, shape.stride, shape.groups, shape.short_dweight ? " in 16 bits" : "",
           plan.name, plan.choice, plan.workspace_bytes);
    *bytes = plan.workspace_bytes;
out:
    lk_cudnn_plan_free(&plan);
    if (target.device != NULL) (void)cudnnBackendDestroyDescriptor(target.device);
    return status;
}

/* In a process of its own, which hands the bytes of workspace over. */
static bool ask_apart(const graph *g, int64_t *bytes) {
    int state = 0, ends[2];
    if (pipe(ends) != 0) return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        lk_error err = {0};
        alarm(SECONDS);
        lk_status status = ask(g, bytes, &err);
        if (status != LK_OK) printf("refused: %s\n", err.message);
        fflush(stdout);
        bool handed = write(ends[1], bytes, sizeof *bytes) == sizeof *bytes;
        _exit(status == LK_OK && handed ? 0 : 1);
    }
    close(ends[1]);
    if (read(ends[0], bytes, sizeof *bytes) != sizeof *bytes) *bytes = 0;
    close(ends[0]);
    if (child > 0 && waitpid(child, &state, 0) == child && WIFEXITED(state)) return WEXITSTATUS(state) == 0;
    printf("refused: the library ended by signal %d on %s of %" PRId64 " channels\n", WTERMSIG(state),
           lk_cudnn_pass_name(g->pass), g->desc.x.c);
    return false;
}

/* What is asked for, and what came of it. */
typedef struct corpus {
    graph *graphs;
    int count;
    bool forward_only;
    int64_t batch;
    lk_dtype type;
    bool tf32;
    int asked, refused;
    int64_t most, sum; /* bytes of workspace */
} corpus;

static bool known(const corpus *c, const graph *g) {
    for (int i = 0; i < c->count; i++)
        if (c->graphs[i].pass == g->pass && memcmp(&c->graphs[i].desc, &g->desc, sizeof g->desc) == 0) return true;
    return false;
}

/* A model's convolutions as the device's plan would describe them, as far as cuDNN computes them. */
static void collect(corpus *c, const lk_graph *model) {
    for (int i = 0; i < model->count; i++) {
        const lk_node *node = &model->nodes[i];
        if (node->op.kind != LK_OP_CONV2D) continue;
        const lk_node *x = &model->nodes[node->x];
        for (int pass = 0; pass < (c->forward_only ? 1 : LK_CUDNN_PASSES); pass++) {
            graph g;
            memset(&g, 0, sizeof g); /* compared with memcmp */
            g.desc.kind = LK_OP_CONV2D;
            g.desc.compute = c->type;
            g.desc.tf32 = c->tf32;
            g.desc.x = (lk_act_desc){c->type, c->batch, x->c, x->h, x->w, lk_cuda_block(x->c, c->type)};
            g.desc.conv = node->op.conv;
            g.desc.conv.bias = false; /* an own kernel adds it */
            g.pass = (lk_cudnn_pass)pass;
            bool first = x->op.kind == LK_OP_INPUT && pass == LK_CUDNN_DATA; /* nobody wants it */
            if (lk_cuda_depthwise_applies(&g.desc) || first || known(c, &g) || c->count == MOST_GRAPHS) continue;
            c->graphs[c->count++] = g;
        }
    }
}

static lk_status collect_models(corpus *c, const char *wanted, lk_error *err) {
    int count, found = 0;
    const lk_model_entry *models = lk_models(&count);
    for (int i = 0; i < count; i++) {
        char list[1024], name[128];
        snprintf(list, sizeof list, ",%s,", wanted);
        snprintf(name, sizeof name, ",%s,", models[i].name);
        if (strcmp(wanted, "all") != 0 && strstr(list, name) == NULL) continue;
        lk_graph *model = NULL;
        int64_t size = models[i].native_size;
        lk_model_spec spec = {.channels = 3, .h = size, .w = size, .classes = 1000, .std = {1, 1, 1}};
        LK_RETURN_IF(lk_model_build(&model, models[i].name, &spec, err));
        collect(c, model);
        lk_graph_free(model);
        found++;
    }
    return found > 0 ? LK_OK : lk_fail(err, LK_ERR_CONFIG, "there is no model of %s", wanted);
}

static void ask_all(corpus *c, int every) {
    for (int i = 0; i < c->count; i += every) {
        int64_t bytes = 0;
        c->asked++;
        if (!ask_apart(&c->graphs[i], &bytes)) c->refused++;
        c->sum += bytes;
        if (bytes > c->most) c->most = bytes;
    }
}

int main(int argc, char **argv) {
    lk_error err = {0};
    corpus c = {0};
    if (argc < 4) {
        fprintf(stderr,
                "usage: gpu_graphs MODEL[,MODEL...]|all BATCH float32|tf32|bfloat16|float16 [forward] [EVERY]\n");
        return 2;
    }
    c.batch = strtoll(argv[2], NULL, 10);
    c.type = strcmp(argv[3], "bfloat16") == 0 ? LK_BF16 : strcmp(argv[3], "float16") == 0 ? LK_F16 : LK_F32;
    c.tf32 = strcmp(argv[3], "tf32") == 0;
    c.forward_only = argc > 4 && strcmp(argv[4], "forward") == 0;
    int every = argc > 4 + c.forward_only ? atoi(argv[4 + c.forward_only]) : 1;
    lk_status status = LK_NEW(&c.graphs, MOST_GRAPHS, "graphs", &err);
    if (status == LK_OK) status = collect_models(&c, argv[1], &err);
    if (status != LK_OK) {
        fprintf(stderr, "gpu_graphs: %s\n", err.message);
        return 2;
    }
    ask_all(&c, every < 1 ? 1 : every);
    printf("%s in %s, batch %" PRId64 ", on cuDNN %zu: %d of %d graphs asked for, %d refused; workspace %" PRId64
           " bytes in all, at most %" PRId64 "\n",
           argv[1], argv[3], c.batch, cudnnGetVersion(), c.asked, c.count, c.refused, c.sum, c.most);
    lk_free(c.graphs);
    return c.refused == 0 && c.asked > 0 && c.count < MOST_GRAPHS ? 0 : 1;
}
