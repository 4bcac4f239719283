#include "case.h"

/* Shapes of the recipes scaled down, odd sizes, channel counts that are no multiple of a vector, and edges. */

#define X(n_, c_, h_, w_) .x = {.n = n_, .c = c_, .h = h_, .w = w_}
#define TRAIN .training = true, .need_dx = true, .dy_count = 1
#define TRAIN_TWO_DY .training = true, .need_dx = true, .dy_count = 2
#define TRAIN_NO_DX .training = true, .need_dx = false, .dy_count = 1
#define EVAL .training = false

#define IMAGENET .input = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}
#define CONV(o, kh, kw, s, p, d, g, b)                \
    .kind = LK_OP_CONV2D, .conv = {.out_channels = o, \
                                   .kernel_h = kh,    \
                                   .kernel_w = kw,    \
                                   .stride = s,       \
                                   .pad = p,          \
                                   .dilation = d,     \
                                   .groups = g,       \
                                   .bias = b}
#define NORM(act_, residual_) \
    .kind = LK_OP_BATCHNORM, .batchnorm = {.eps = 1e-5, .act = LK_ACT_##act_, .residual = residual_}
#define POOL(k, s, p) .kind = LK_OP_MAXPOOL, .maxpool = {.kernel = k, .stride = s, .pad = p}
#define ACT(act_) .kind = LK_OP_ACTIVATION, .activation = {.act = LK_ACT_##act_}
#define SUM(act_) .kind = LK_OP_ADD, .add = {.act = LK_ACT_##act_}
#define MEAN .kind = LK_OP_GLOBAL_AVGPOOL
#define LINEAR(o) .kind = LK_OP_LINEAR, .linear = {.out_features = o}
#define LOSS(s) .kind = LK_OP_CROSS_ENTROPY, .cross_entropy = {.smoothing = s}
#define INPUT .kind = LK_OP_INPUT

static const op_case CASES[] = {
    {.name = "input rgb 8 x 32 x 32", .desc = {INPUT, EVAL, X(8, 3, 32, 32), IMAGENET}},
    {.name = "input rgb odd size", .desc = {INPUT, EVAL, X(3, 3, 17, 13), IMAGENET}},
    {.name = "input grey 28 x 28", .desc = {INPUT, EVAL, X(5, 1, 28, 28), .input = {{0.2860f}, {0.3530f}}}},
    {.name = "input one pixel", .desc = {INPUT, EVAL, X(1, 3, 1, 1), IMAGENET}},
    {.name = "input two channels", .desc = {INPUT, EVAL, X(2, 2, 5, 7), .input = {{0.1f, 0.9f}, {0.5f, 2.0f}}}},
    {.name = "input four channels",
     .desc = {INPUT, EVAL, X(2, 4, 6, 5), .input = {{0.1f, 0.2f, 0.3f, 0.4f}, {0.5f, 0.6f, 0.7f, 0.8f}}}},
    {.name = "input one sample wide row", .desc = {INPUT, EVAL, X(1, 3, 2, 65), IMAGENET}},
    {.name = "input black and white", .desc = {INPUT, EVAL, X(2, 3, 9, 9), IMAGENET}, .flags = OP_EXTREME},
    {.name = "input in training", .desc = {INPUT, TRAIN_NO_DX, X(4, 3, 16, 16), IMAGENET}},
    {.name = "input mixed", .desc = {INPUT, EVAL, X(6, 3, 9, 11), IMAGENET}, .flags = OP_MIXED},
    {.name = "input mixed grey",
     .desc = {INPUT, EVAL, X(5, 1, 8, 8), .input = {{0.2860f}, {0.3530f}}},
     .flags = OP_MIXED},
    {.name = "input mixed in training", .desc = {INPUT, TRAIN_NO_DX, X(4, 3, 16, 16), IMAGENET}, .flags = OP_MIXED},
    {.name = "input like another batch", .desc = {INPUT, EVAL, X(3, 3, 16, 16), IMAGENET}, .like_n = 8},

    {.name = "conv stem 7x7 stride 2", .desc = {TRAIN_NO_DX, X(2, 3, 33, 33), CONV(16, 7, 7, 2, 3, 1, 1, false)}},
    {.name = "conv stem 7x7 stride 2 even", .desc = {TRAIN_NO_DX, X(2, 3, 32, 32), CONV(64, 7, 7, 2, 3, 1, 1, false)}},
    {.name = "conv stem 7x7 with dx", .desc = {TRAIN, X(2, 3, 20, 22), CONV(16, 7, 7, 2, 3, 1, 1, false)}},
    {.name = "conv stem 3x3 grey", .desc = {TRAIN_NO_DX, X(4, 1, 28, 28), CONV(16, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv stem 3x3 rgb", .desc = {TRAIN_NO_DX, X(2, 3, 32, 32), CONV(16, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 3x3 16 to 16", .desc = {TRAIN, X(4, 16, 14, 14), CONV(16, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 3x3 64 to 64", .desc = {TRAIN, X(2, 64, 14, 14), CONV(64, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 3x3 32 to 64 stride 2", .desc = {TRAIN, X(2, 32, 14, 14), CONV(64, 3, 3, 2, 1, 1, 1, false)}},
    {.name = "conv 3x3 odd size stride 2", .desc = {TRAIN, X(2, 24, 15, 13), CONV(40, 3, 3, 2, 1, 1, 1, false)}},
    {.name = "conv 3x3 128 to 128 on 2 px", .desc = {TRAIN, X(4, 128, 2, 2), CONV(128, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 3x3 on 1 px", .desc = {TRAIN, X(8, 64, 1, 1), CONV(64, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 1x1 64 to 256", .desc = {TRAIN, X(2, 64, 7, 7), CONV(256, 1, 1, 1, 0, 1, 1, false)}},
    {.name = "conv 1x1 256 to 64", .desc = {TRAIN, X(2, 256, 7, 7), CONV(64, 1, 1, 1, 0, 1, 1, false)}},
    {.name = "conv 1x1 stride 2 shortcut", .desc = {TRAIN, X(2, 64, 14, 14), CONV(128, 1, 1, 2, 0, 1, 1, false)}},
    {.name = "conv 1x1 stride 2 odd size", .desc = {TRAIN, X(2, 16, 7, 9), CONV(32, 1, 1, 2, 0, 1, 1, false)}},
    {.name = "conv 3x3 odd channels", .desc = {TRAIN, X(2, 13, 9, 11), CONV(19, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 1x1 odd channels bias", .desc = {TRAIN, X(3, 17, 5, 5), CONV(7, 1, 1, 1, 0, 1, 1, true)}},
    {.name = "conv 3x3 bias", .desc = {TRAIN, X(2, 16, 8, 8), CONV(24, 3, 3, 1, 1, 1, 1, true)}},
    {.name = "conv 3x3 no padding", .desc = {TRAIN, X(2, 16, 9, 9), CONV(16, 3, 3, 1, 0, 1, 1, false)}},
    {.name = "conv 3x3 wide padding", .desc = {TRAIN, X(2, 8, 5, 5), CONV(8, 3, 3, 1, 2, 1, 1, false)}},
    {.name = "conv kernel as large as input", .desc = {TRAIN, X(2, 16, 6, 6), CONV(16, 6, 6, 1, 0, 1, 1, true)}},
    {.name = "conv 1x3 kernel", .desc = {TRAIN, X(2, 16, 8, 10), CONV(16, 1, 3, 1, 1, 1, 1, false)}},
    {.name = "conv 3x1 kernel", .desc = {TRAIN, X(2, 16, 10, 8), CONV(16, 3, 1, 1, 1, 1, 1, false)}},
    {.name = "conv 5x5 stride 3", .desc = {TRAIN, X(2, 16, 16, 16), CONV(16, 5, 5, 3, 2, 1, 1, false)}},
    {.name = "conv dilation 2", .desc = {TRAIN, X(2, 16, 12, 12), CONV(16, 3, 3, 1, 2, 2, 1, false)}},
    {.name = "conv dilation 3 stride 2", .desc = {TRAIN, X(2, 16, 15, 17), CONV(24, 3, 3, 2, 3, 3, 1, false)}},
    {.name = "conv groups 2", .desc = {TRAIN, X(2, 32, 8, 8), CONV(32, 3, 3, 1, 1, 1, 2, false)}},
    {.name = "conv groups 32 of 4", .desc = {TRAIN, X(2, 128, 7, 7), CONV(128, 3, 3, 1, 1, 1, 32, false)}},
    {.name = "conv groups 3 odd", .desc = {TRAIN, X(2, 15, 7, 7), CONV(21, 3, 3, 1, 1, 1, 3, true)}},
    {.name = "conv groups widening", .desc = {TRAIN, X(2, 16, 7, 7), CONV(64, 3, 3, 2, 1, 1, 4, false)}},
    {.name = "conv depthwise", .desc = {TRAIN, X(2, 32, 10, 10), CONV(32, 3, 3, 1, 1, 1, 32, false)}},
    {.name = "conv depthwise stride 2", .desc = {TRAIN, X(2, 48, 15, 15), CONV(48, 3, 3, 2, 1, 1, 48, false)}},
    {.name = "conv depthwise 5x5 odd channels", .desc = {TRAIN, X(2, 20, 9, 9), CONV(20, 5, 5, 1, 2, 1, 20, true)}},
    {.name = "conv one sample", .desc = {TRAIN, X(1, 32, 8, 8), CONV(32, 3, 3, 1, 1, 1, 1, false)}},
    {.name = "conv one channel each", .desc = {TRAIN, X(3, 1, 6, 6), CONV(1, 3, 3, 1, 1, 1, 1, true)}},
    {.name = "conv in evaluation", .desc = {EVAL, X(3, 16, 9, 9), CONV(32, 3, 3, 1, 1, 1, 1, true)}},
    {.name = "conv like a larger batch",
     .desc = {TRAIN, X(3, 32, 14, 14), CONV(64, 3, 3, 1, 1, 1, 1, false)},
     .like_n = 16},
    {.name = "conv stem like a larger batch",
     .desc = {TRAIN_NO_DX, X(1, 3, 32, 32), CONV(16, 7, 7, 2, 3, 1, 1, true)},
     .like_n = 8},
    {.name = "conv depthwise like another batch",
     .desc = {TRAIN, X(1, 32, 10, 10), CONV(32, 3, 3, 1, 1, 1, 32, false)},
     .like_n = 4},
    {.name = "conv evaluation like training batch",
     .desc = {EVAL, X(5, 64, 7, 7), CONV(128, 1, 1, 2, 0, 1, 1, false)},
     .like_n = 8},
    {.name = "conv of positive values",
     .desc = {TRAIN, X(2, 32, 8, 8), CONV(32, 3, 3, 1, 1, 1, 1, false)},
     .offset = 2},
    {.name = "conv NaN in one pixel",
     .desc = {TRAIN, X(2, 16, 8, 8), CONV(16, 3, 3, 1, 1, 1, 1, false)},
     .flags = OP_NAN_INPUT},
    {.name = "conv 1x1 NaN in one pixel",
     .desc = {TRAIN, X(2, 16, 5, 5), CONV(24, 1, 1, 1, 0, 1, 1, false)},
     .flags = OP_NAN_INPUT},

    {.name = "batchnorm relu", .desc = {NORM(RELU, false), TRAIN, X(4, 64, 14, 14)}},
    {.name = "batchnorm", .desc = {NORM(NONE, false), TRAIN, X(4, 32, 7, 7)}},
    {.name = "batchnorm residual relu", .desc = {NORM(RELU, true), TRAIN, X(4, 64, 7, 7)}},
    {.name = "batchnorm residual", .desc = {NORM(NONE, true), TRAIN, X(4, 16, 7, 7)}},
    {.name = "batchnorm relu two dys", .desc = {NORM(RELU, false), TRAIN_TWO_DY, X(4, 32, 7, 7)}},
    {.name = "batchnorm residual relu two dys", .desc = {NORM(RELU, true), TRAIN_TWO_DY, X(2, 40, 7, 9)}},
    {.name = "batchnorm two dys", .desc = {NORM(NONE, false), TRAIN_TWO_DY, X(2, 16, 5, 5)}},
    {.name = "batchnorm odd channels", .desc = {NORM(RELU, false), TRAIN, X(3, 19, 9, 5)}},
    {.name = "batchnorm residual odd channels", .desc = {NORM(RELU, true), TRAIN, X(3, 13, 5, 3)}},
    {.name = "batchnorm 1 x 1", .desc = {NORM(RELU, false), TRAIN, X(16, 64, 1, 1)}},
    {.name = "batchnorm 4 values a channel", .desc = {NORM(NONE, false), TRAIN, X(4, 16, 1, 1)}},
    {.name = "batchnorm one sample", .desc = {NORM(RELU, true), TRAIN, X(1, 32, 6, 6)}},
    {.name = "batchnorm one channel", .desc = {NORM(RELU, false), TRAIN, X(4, 1, 8, 8)}},
    {.name = "batchnorm 512 channels", .desc = {NORM(RELU, true), TRAIN, X(4, 512, 2, 2)}},
    {.name = "batchnorm many values", .desc = {NORM(RELU, false), TRAIN, X(8, 16, 40, 40)}},
    {.name = "batchnorm no dx", .desc = {NORM(RELU, false), TRAIN_NO_DX, X(4, 16, 7, 7)}},
    {.name = "batchnorm mean 1000", .desc = {NORM(RELU, false), TRAIN, X(4, 32, 9, 9)}, .offset = 1000},
    {.name = "batchnorm mean -10000", .desc = {NORM(NONE, false), TRAIN, X(4, 16, 9, 9)}, .offset = -10000},
    {.name = "batchnorm tiny values",
     .desc = {NORM(NONE, false), TRAIN, X(4, 16, 9, 9)},
     .offset = 1e-3,
     .scale = 1e-3},
    {.name = "batchnorm huge values", .desc = {NORM(RELU, false), TRAIN, X(4, 16, 9, 9)}, .scale = 1e5},
    {.name = "batchnorm like a larger batch", .desc = {NORM(RELU, true), TRAIN, X(2, 32, 7, 7)}, .like_n = 8},
    {.name = "batchnorm NaN", .desc = {NORM(RELU, false), TRAIN, X(2, 16, 5, 5)}, .flags = OP_NAN_INPUT},
    {.name = "batchnorm residual NaN", .desc = {NORM(RELU, true), TRAIN, X(2, 16, 5, 5)}, .flags = OP_NAN_INPUT},
    {.name = "batchnorm evaluation", .desc = {NORM(RELU, false), EVAL, X(4, 32, 7, 7)}},
    {.name = "batchnorm evaluation residual", .desc = {NORM(RELU, true), EVAL, X(3, 19, 7, 5)}},
    {.name = "batchnorm evaluation no act", .desc = {NORM(NONE, false), EVAL, X(1, 16, 1, 1)}},
    {.name = "batchnorm evaluation mean 1000", .desc = {NORM(NONE, false), EVAL, X(2, 16, 5, 5)}, .offset = 1000},
    {.name = "batchnorm evaluation NaN", .desc = {NORM(RELU, false), EVAL, X(2, 16, 5, 5)}, .flags = OP_NAN_INPUT},

    {.name = "activation relu", .desc = {ACT(RELU), TRAIN, X(4, 32, 7, 7)}},
    {.name = "activation none", .desc = {ACT(NONE), TRAIN, X(2, 16, 5, 5)}},
    {.name = "activation relu two dys", .desc = {ACT(RELU), TRAIN_TWO_DY, X(2, 24, 5, 5)}},
    {.name = "activation none two dys", .desc = {ACT(NONE), TRAIN_TWO_DY, X(2, 16, 5, 5)}},
    {.name = "activation odd channels", .desc = {ACT(RELU), TRAIN, X(3, 11, 3, 5)}},
    {.name = "activation one element", .desc = {ACT(RELU), TRAIN, X(1, 1, 1, 1)}},
    {.name = "activation exact zeros", .desc = {ACT(RELU), TRAIN, X(2, 16, 5, 5)}, .flags = OP_INTEGERS},
    {.name = "activation NaN", .desc = {ACT(RELU), TRAIN, X(2, 16, 5, 5)}, .flags = OP_NAN_INPUT},
    {.name = "activation evaluation", .desc = {ACT(RELU), EVAL, X(2, 17, 5, 5)}},
    {.name = "activation like another batch", .desc = {ACT(RELU), TRAIN, X(2, 16, 5, 5)}, .like_n = 5},

    {.name = "add relu", .desc = {SUM(RELU), TRAIN, X(4, 32, 7, 7)}},
    {.name = "add", .desc = {SUM(NONE), TRAIN, X(2, 16, 5, 5)}},
    {.name = "add relu two dys", .desc = {SUM(RELU), TRAIN_TWO_DY, X(2, 24, 5, 5)}},
    {.name = "add two dys", .desc = {SUM(NONE), TRAIN_TWO_DY, X(2, 16, 5, 5)}},
    {.name = "add odd channels", .desc = {SUM(RELU), TRAIN, X(3, 11, 3, 5)}},
    {.name = "add one element", .desc = {SUM(NONE), TRAIN, X(1, 1, 1, 1)}},
    {.name = "add exact zeros", .desc = {SUM(RELU), TRAIN, X(2, 16, 5, 5)}, .flags = OP_INTEGERS},
    {.name = "add NaN", .desc = {SUM(RELU), TRAIN, X(2, 16, 5, 5)}, .flags = OP_NAN_INPUT},
    {.name = "add evaluation", .desc = {SUM(RELU), EVAL, X(2, 17, 5, 5)}},
    {.name = "add like another batch", .desc = {SUM(RELU), TRAIN, X(2, 16, 5, 5)}, .like_n = 5},

    {.name = "maxpool 3x3 stride 2 pad 1", .desc = {POOL(3, 2, 1), TRAIN, X(2, 16, 16, 16)}, .flags = OP_DISTINCT},
    {.name = "maxpool 3x3 stride 2 odd", .desc = {POOL(3, 2, 1), TRAIN, X(2, 24, 15, 17)}, .flags = OP_DISTINCT},
    {.name = "maxpool 2x2", .desc = {POOL(2, 2, 0), TRAIN, X(2, 16, 8, 8)}, .flags = OP_DISTINCT},
    {.name = "maxpool 2x2 odd size", .desc = {POOL(2, 2, 0), TRAIN, X(2, 16, 7, 9)}, .flags = OP_DISTINCT},
    {.name = "maxpool overlapping", .desc = {POOL(3, 1, 1), TRAIN, X(2, 16, 6, 6)}, .flags = OP_DISTINCT},
    {.name = "maxpool two dys", .desc = {POOL(3, 2, 1), TRAIN_TWO_DY, X(2, 16, 9, 9)}, .flags = OP_DISTINCT},
    {.name = "maxpool overlapping two dys",
     .desc = {POOL(3, 1, 1), TRAIN_TWO_DY, X(2, 19, 6, 7)},
     .flags = OP_DISTINCT},
    {.name = "maxpool odd channels", .desc = {POOL(3, 2, 1), TRAIN, X(1, 13, 9, 9)}, .flags = OP_DISTINCT},
    {.name = "maxpool one channel", .desc = {POOL(2, 2, 0), TRAIN, X(3, 1, 6, 6)}, .flags = OP_DISTINCT},
    {.name = "maxpool ties", .desc = {POOL(3, 2, 1), TRAIN, X(2, 16, 9, 9)}, .flags = OP_INTEGERS},
    {.name = "maxpool overlapping ties", .desc = {POOL(3, 1, 1), TRAIN, X(2, 16, 7, 7)}, .flags = OP_INTEGERS},
    {.name = "maxpool all negative", .desc = {POOL(3, 2, 1), TRAIN, X(2, 16, 8, 8)}, .offset = -10},
    {.name = "maxpool NaN", .desc = {POOL(3, 2, 1), TRAIN, X(2, 16, 8, 8)}, .flags = OP_NAN_INPUT},
    {.name = "maxpool 1x1 output", .desc = {POOL(3, 2, 0), TRAIN, X(2, 16, 3, 3)}, .flags = OP_DISTINCT},
    {.name = "maxpool evaluation", .desc = {POOL(3, 2, 1), EVAL, X(3, 16, 8, 8)}},
    {.name = "maxpool evaluation NaN", .desc = {POOL(3, 2, 1), EVAL, X(2, 16, 8, 8)}, .flags = OP_NAN_INPUT},
    {.name = "maxpool like another batch",
     .desc = {POOL(3, 2, 1), TRAIN, X(3, 16, 8, 8)},
     .like_n = 8,
     .flags = OP_DISTINCT},

    {.name = "global_avgpool 7 x 7", .desc = {MEAN, TRAIN, X(4, 64, 7, 7)}},
    {.name = "global_avgpool odd channels", .desc = {MEAN, TRAIN, X(3, 13, 5, 3)}},
    {.name = "global_avgpool 1 x 1", .desc = {MEAN, TRAIN, X(3, 16, 1, 1)}},
    {.name = "global_avgpool one sample", .desc = {MEAN, TRAIN, X(1, 512, 2, 2)}},
    {.name = "global_avgpool wide", .desc = {MEAN, TRAIN, X(2, 24, 20, 20)}},
    {.name = "global_avgpool offset", .desc = {MEAN, TRAIN, X(2, 16, 8, 8)}, .offset = 100},
    {.name = "global_avgpool evaluation", .desc = {MEAN, EVAL, X(2, 19, 4, 4)}},
    {.name = "global_avgpool NaN", .desc = {MEAN, TRAIN, X(2, 16, 4, 4)}, .flags = OP_NAN_INPUT},
    {.name = "global_avgpool like another batch", .desc = {MEAN, TRAIN, X(2, 16, 4, 4)}, .like_n = 7},

    {.name = "linear 512 to 10", .desc = {LINEAR(10), TRAIN, X(8, 512, 1, 1)}},
    {.name = "linear 64 to 1000", .desc = {LINEAR(1000), TRAIN, X(4, 64, 1, 1)}},
    {.name = "linear odd", .desc = {LINEAR(13), TRAIN, X(3, 19, 1, 1)}},
    {.name = "linear one sample", .desc = {LINEAR(10), TRAIN, X(1, 64, 1, 1)}},
    {.name = "linear one by one", .desc = {LINEAR(1), TRAIN, X(2, 1, 1, 1)}},
    {.name = "linear square", .desc = {LINEAR(32), TRAIN, X(5, 32, 1, 1)}},
    {.name = "linear no dx", .desc = {LINEAR(10), TRAIN_NO_DX, X(8, 32, 1, 1)}},
    {.name = "linear evaluation", .desc = {LINEAR(20), EVAL, X(8, 48, 1, 1)}},
    {.name = "linear like a larger batch", .desc = {LINEAR(20), TRAIN, X(3, 64, 1, 1)}, .like_n = 16},
    {.name = "linear evaluation like training", .desc = {LINEAR(10), EVAL, X(7, 64, 1, 1)}, .like_n = 16},
    {.name = "linear NaN", .desc = {LINEAR(10), TRAIN, X(4, 32, 1, 1)}, .flags = OP_NAN_INPUT},

    {.name = "cross_entropy 10 classes", .desc = {LOSS(0), TRAIN, X(8, 10, 1, 1)}},
    {.name = "cross_entropy smoothing 0.1", .desc = {LOSS(0.1), TRAIN, X(8, 10, 1, 1)}},
    {.name = "cross_entropy smoothing 1", .desc = {LOSS(1), TRAIN, X(4, 6, 1, 1)}},
    {.name = "cross_entropy 1000 classes", .desc = {LOSS(0.1), TRAIN, X(3, 1000, 1, 1)}},
    {.name = "cross_entropy padding rows", .desc = {LOSS(0), EVAL, X(8, 10, 1, 1)}, .rows = 5},
    {.name = "cross_entropy padding rows in training", .desc = {LOSS(0.1), TRAIN, X(8, 13, 1, 1)}, .rows = 3},
    {.name = "cross_entropy large logits", .desc = {LOSS(0), TRAIN, X(8, 10, 1, 1)}, .scale = 300},
    {.name = "cross_entropy large logits smoothing", .desc = {LOSS(0.1), TRAIN, X(8, 10, 1, 1)}, .scale = 300},
    {.name = "cross_entropy offset logits", .desc = {LOSS(0.1), TRAIN, X(8, 10, 1, 1)}, .offset = 1000},
    {.name = "cross_entropy two classes", .desc = {LOSS(0), TRAIN, X(1, 2, 1, 1)}},
    {.name = "cross_entropy evaluation", .desc = {LOSS(0.1), EVAL, X(8, 17, 1, 1)}},
    {.name = "cross_entropy NaN", .desc = {LOSS(0.1), TRAIN, X(4, 10, 1, 1)}, .flags = OP_NAN_INPUT},
    {.name = "cross_entropy like another batch", .desc = {LOSS(0), TRAIN, X(4, 10, 1, 1)}, .like_n = 9},
};

const op_case *op_cases(int *count) {
    *count = (int)(sizeof CASES / sizeof CASES[0]);
    return CASES;
}
