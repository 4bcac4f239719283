#include <stdio.h>
#include <string.h>

#include "modes.h"

/* Plans only. Returns the status; the sentence goes to *err. */
static lk_status try_plan(lk_device *device, const op_case *c, lk_dtype compute, int64_t block, lk_act_desc *y,
                          lk_error *err) {
    op_plan *plan = NULL;
    lk_status status = op_plan_create(&plan, device, c, compute, block, NULL, err);
    if (status == LK_OK && y != NULL) *y = plan->info.y;
    op_plan_free(plan);
    return status;
}

/* Ops are chained by layout: what one gives, each must take. */
static bool check_chain(op_context *context, const op_case *c, const lk_act_desc *y, lk_dtype compute) {
    static const lk_op_desc CONSUMERS[] = {
        {.kind = LK_OP_CONV2D,
         .conv = {.out_channels = 16, .kernel_h = 1, .kernel_w = 1, .stride = 1, .dilation = 1, .groups = 1}},
        {.kind = LK_OP_BATCHNORM, .batchnorm = {.eps = 1e-5, .act = LK_ACT_RELU, .residual = true}},
        {.kind = LK_OP_ACTIVATION, .activation = {.act = LK_ACT_RELU}},
        {.kind = LK_OP_ADD, .add = {.act = LK_ACT_RELU}},
        {.kind = LK_OP_SCALE},
        {.kind = LK_OP_DROPOUT, .dropout = {.rate = 0.5}},
        {.kind = LK_OP_MAXPOOL, .maxpool = {.kernel = 1, .stride = 1}},
        {.kind = LK_OP_GLOBAL_AVGPOOL},
        {.kind = LK_OP_LINEAR, .linear = {.out_features = 5}},
        {.kind = LK_OP_LOSS, .loss = {.cross_entropy = 1}},
    };
    if (c->desc.kind == LK_OP_LOSS) return true;
    bool well = true;
    for (size_t i = 0; i < sizeof CONSUMERS / sizeof CONSUMERS[0]; i++) {
        op_case next = {.name = "consumer", .desc = CONSUMERS[i]};
        bool flat = next.desc.kind == LK_OP_LINEAR || next.desc.kind == LK_OP_LOSS;
        if (flat && (y->h != 1 || y->w != 1)) continue;
        if (next.desc.kind == LK_OP_BATCHNORM && y->n * y->h * y->w < 2) continue;
        next.desc.x = *y;
        next.desc.training = next.desc.need_dx = true;
        next.desc.dy_count = 1;
        lk_error err = {0};
        if (try_plan(context->device, &next, compute, y->block, NULL, &err) == LK_OK) continue;
        printf("FAIL %s does not take what %s gives: %s\n", lk_op_kind_name(next.desc.kind), c->name, err.message);
        well = false;
    }
    return well;
}

static bool check_case(op_context *context, const op_case *c, lk_dtype compute, int *supported) {
    const char *reason = op_unsupported_reason(context->device, c, compute);
    int64_t blocks[OP_BLOCKS];
    int count = op_blocks(c, blocks), taken = 0;
    bool well = true;
    lk_error first = {0};
    for (int i = 0; i < count; i++) {
        lk_error err = {0};
        lk_act_desc y;
        lk_status status = try_plan(context->device, c, compute, blocks[i], &y, &err);
        if (status == LK_OK) {
            taken++;
            well &= check_chain(context, c, &y, compute);
            continue;
        }
        if (first.message[0] == '\0') first = err;
        if (status == LK_ERR_UNSUPPORTED && strstr(err.message, lk_op_kind_name(c->desc.kind)) != NULL &&
            strstr(err.message, context->device->name) != NULL)
            continue;
        printf(
            "FAIL %s with channel block %lld: the refusal (%s) must be LK_ERR_UNSUPPORTED and name op and device: %s\n",
            c->name, (long long)blocks[i], lk_status_name(status), err.message);
        well = false;
    }
    if (taken > 0) (*supported)++;
    if (taken > 0 && reason != NULL) {
        printf("FAIL %s is listed as unsupported (%s), but it is supported\n", c->name, reason);
        return false;
    }
    if (taken > 0 || reason != NULL) return well;
    printf("FAIL %s in %s has no layout that device %s supports: %s\n", c->name, lk_dtype_name(compute),
           context->device->name, first.message);
    return false;
}

/* Descriptors that no device may plan. */
#define X(n_, c_, h_, w_) .training = true, .need_dx = true, .dy_count = 1, .x = {.n = n_, .c = c_, .h = h_, .w = w_}
#define CONV(o, k, s, p, d, g) \
    .kind = LK_OP_CONV2D,      \
    .conv = {.out_channels = o, .kernel_h = k, .kernel_w = k, .stride = s, .pad = p, .dilation = d, .groups = g}
#define POOL(k, s, p) .kind = LK_OP_MAXPOOL, .maxpool = {.kernel = k, .stride = s, .pad = p}
static const op_case NONSENSE[] = {
    {.name = "a kernel larger than the input", .desc = {X(1, 16, 4, 4), CONV(16, 7, 1, 1, 1, 1)}},
    {.name = "a dilated kernel larger than the input", .desc = {X(1, 16, 4, 4), CONV(16, 3, 1, 0, 2, 1)}},
    {.name = "stride 0", .desc = {X(1, 16, 4, 4), CONV(16, 3, 0, 1, 1, 1)}},
    {.name = "negative padding", .desc = {X(1, 16, 9, 9), CONV(16, 3, 1, -1, 1, 1)}},
    {.name = "dilation 0", .desc = {X(1, 16, 9, 9), CONV(16, 3, 1, 1, 0, 1)}},
    {.name = "kernel 0", .desc = {X(1, 16, 9, 9), CONV(16, 0, 1, 1, 1, 1)}},
    {.name = "groups that do not divide", .desc = {X(1, 16, 9, 9), CONV(16, 3, 1, 1, 1, 3)}},
    {.name = "groups that do not divide the output", .desc = {X(1, 16, 9, 9), CONV(18, 3, 1, 1, 1, 4)}},
    {.name = "no groups", .desc = {X(1, 16, 9, 9), CONV(16, 3, 1, 1, 1, 0)}},
    {.name = "no output channels", .desc = {X(1, 16, 9, 9), CONV(0, 3, 1, 1, 1, 1)}},
    {.name = "an empty batch", .desc = {X(0, 16, 9, 9), CONV(16, 3, 1, 1, 1, 1)}},
    {.name = "a negative height", .desc = {X(1, 16, -9, 9), CONV(16, 3, 1, 1, 1, 1)}},
    {.name = "a window larger than the input", .desc = {X(1, 16, 4, 4), POOL(7, 1, 1)}},
    {.name = "padding over half the window", .desc = {X(1, 16, 9, 9), POOL(3, 2, 2)}},
    {.name = "pooling stride 0", .desc = {X(1, 16, 9, 9), POOL(3, 0, 1)}},
    {.name = "one value a channel",
     .desc = {X(1, 16, 1, 1), .kind = LK_OP_BATCHNORM, .batchnorm = {.eps = 1e-5, .act = LK_ACT_NONE}}},
    {.name = "negative eps",
     .desc = {X(2, 16, 3, 3), .kind = LK_OP_BATCHNORM, .batchnorm = {.eps = -1, .act = LK_ACT_NONE}}},
    {.name = "an unknown activation",
     .desc = {X(2, 16, 3, 3), .kind = LK_OP_ACTIVATION, .activation = {.act = LK_ACT_COUNT}}},
    {.name = "an unknown activation of a convolution",
     .desc = {X(2, 16, 1, 1), .kind = LK_OP_CONV2D,
              .conv = {.out_channels = 16,
                       .kernel_h = 1,
                       .kernel_w = 1,
                       .stride = 1,
                       .dilation = 1,
                       .groups = 1,
                       .act = LK_ACT_COUNT}}},
    {.name = "an unknown activation of a sum",
     .desc = {X(2, 16, 3, 3), .kind = LK_OP_ADD, .add = {.act = LK_ACT_COUNT}}},
    {.name = "a dropout of everything", .desc = {X(2, 16, 3, 3), .kind = LK_OP_DROPOUT, .dropout = {.rate = 1}}},
    {.name = "a negative dropout", .desc = {X(2, 16, 3, 3), .kind = LK_OP_DROPOUT, .dropout = {.rate = -0.1}}},
    {.name = "a path dropped without a residual",
     .desc = {X(2, 16, 3, 3), .kind = LK_OP_BATCHNORM, .batchnorm = {.eps = 1e-5, .drop_path = 0.1}}},
    {.name = "a path always dropped",
     .desc = {X(2, 16, 3, 3), .kind = LK_OP_BATCHNORM, .batchnorm = {.eps = 1e-5, .residual = true, .drop_path = 1}}},
    {.name = "more padding less than there is",
     .desc = {X(1, 16, 9, 9), .kind = LK_OP_CONV2D,
              .conv = {.out_channels = 16,
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride = 1,
                       .pad = 1,
                       .dilation = 1,
                       .groups = 1,
                       .pad_less_top = 2}}},
    {.name = "negative padding on the left",
     .desc = {X(1, 16, 9, 9), .kind = LK_OP_CONV2D,
              .conv = {.out_channels = 16,
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride = 1,
                       .pad = 1,
                       .dilation = 1,
                       .groups = 1,
                       .pad_less_left = -1}}},
    {.name = "no features", .desc = {X(2, 16, 1, 1), .kind = LK_OP_LINEAR, .linear = {.out_features = 0}}},
    {.name = "smoothing over 1",
     .desc = {X(2, 16, 1, 1), .kind = LK_OP_LOSS, .loss = {.cross_entropy = 1, .smoothing = 1.5}}},
    {.name = "std 0", .desc = {X(2, 3, 4, 4), .kind = LK_OP_INPUT, .input = {{0, 0, 0}, {1, 0, 1}}}},
    {.name = "five channels of an image",
     .desc = {X(2, 5, 4, 4), .kind = LK_OP_INPUT, .input = {{0, 0, 0, 0}, {1, 1, 1, 1}}}},
    {.name = "more elements than there are addresses",
     .desc = {X(INT64_C(1) << 30, INT64_C(1) << 30, INT64_C(1) << 30, 1), .kind = LK_OP_ACTIVATION,
              .activation = {.act = LK_ACT_RELU}}},
    {.name = "a kind that is none", .desc = {X(2, 16, 3, 3), .kind = LK_OP_COUNT}},
};
#undef X
#undef CONV
#undef POOL

static bool check_nonsense(op_context *context, lk_dtype compute) {
    bool well = true;
    for (size_t i = 0; i < sizeof NONSENSE / sizeof NONSENSE[0]; i++) {
        int64_t blocks[OP_BLOCKS];
        int count = NONSENSE[i].desc.kind == LK_OP_COUNT ? 1 : op_blocks(&NONSENSE[i], blocks);
        for (int k = 0; k < count; k++) {
            lk_error err = {0};
            int64_t block = NONSENSE[i].desc.kind == LK_OP_COUNT ? 1 : blocks[k];
            lk_status status = try_plan(context->device, &NONSENSE[i], compute, block, NULL, &err);
            bool refused = status == LK_ERR_CONFIG || status == LK_ERR_UNSUPPORTED;
            /* A microbatch too small for BatchNorm is the job's fault, in the layouts that the device takes. */
            bool small = NONSENSE[i].desc.x.n * NONSENSE[i].desc.x.h * NONSENSE[i].desc.x.w == 1;
            if (small && NONSENSE[i].desc.kind == LK_OP_BATCHNORM && block == 1) refused = status == LK_ERR_CONFIG;
            if (refused && err.message[0] != '\0' && strchr(err.message, '\n') == NULL) continue;
            printf("FAIL %s with channel block %lld: status %s, sentence '%s'\n", NONSENSE[i].name, (long long)block,
                   lk_status_name(status), err.message);
            well = false;
        }
    }
    return well;
}

bool op_mode_support(op_context *context) {
    lk_dtype dtypes[OP_DTYPES];
    int count = op_dtypes(context->device, dtypes), cases;
    const op_case *list = op_cases(&cases);
    bool well = count > 0;
    for (int d = 0; d < count; d++) {
        int supported = 0;
        for (int i = 0; i < cases; i++)
            if (op_selected(context, &list[i]) && op_case_applies(context->device, &list[i]))
                well &= check_case(context, &list[i], dtypes[d], &supported);
        well &= check_nonsense(context, dtypes[d]);
        well &= supported > 0;
        printf("support %s in %s: %d of %d cases\n", context->device->name, lk_dtype_name(dtypes[d]), supported, cases);
    }
    lk_error err = {0};
    if (context->device->supports_dtype(context->device, LK_U8, &err) == LK_OK || err.message[0] == '\0') {
        printf("FAIL device %s computes in uint8\n", context->device->name);
        well = false;
    }
    const char *identity = context->device->identity(context->device);
    well &= identity != NULL && identity[0] != '\0';
    return well;
}
