/* Every key of a job file: type, default, limits and help. */
#include <stddef.h>

#include "train/job.h"

static const char *const RECOMPUTES[] = {"none", "convs", "all", NULL};
static const char *const GRAPHS[] = {"auto", "off", NULL};
static const char *const REDUCES[] = {"tree", "ring", NULL};
static const char *const COLOURS[] = {"rgb", "grey", NULL};
static const char *const RESIZES[] = {"none", "short_side", "stretch", NULL};
static const char *const INTERPOLATIONS[] = {"bilinear", "bicubic", NULL};
static const char *const DECODES[] = {"exact", "scaled", NULL};
static const char *const SAMPLERS[] = {"shuffled", "class_balanced", "weighted", NULL};
static const char *const POLICIES[] = {"none", "randaugment", "trivialaugment", NULL};
static const char *const SAMPLINGS[] = {"nearest", "bilinear", NULL};
static const char *const ERASE_FILLS[] = {"mean", "noise", "black", NULL};
static const char *const CROPS[] = {"center", "random_resized", "pad_random", NULL};
static const char *const SCHEDULES[] = {"constant",        "step",      "cosine",     "multistep", "exponential",
                                        "cosine_restarts", "one_cycle", "polynomial", "plateau",   NULL};
static const char *const OPTIMIZERS[] = {"sgd", "adam", "adamw", "rmsprop", "rmsprop_tf", NULL};
static const char *const PERS[] = {"update", "epoch", NULL};
static const char *const ANNEALS[] = {"cosine", "linear", NULL};
static const char *const THRESHOLDS[] = {"relative", "absolute", NULL};
static const char *const SMOOTHINGS[] = {"uniform", "others", NULL};
static const char *const F1_COUNTS[] = {"window", "per_microbatch", NULL};
static const char *const LOSS_SCALES[] = {"auto", "dynamic", "none", NULL};
static const char *const WEIGHTINGS[] = {"none", "given", "inverse_frequency", "effective_number", NULL};
static const char *const MONITORS[] = {"f1", "loss", NULL};

/* clang-format off */
#define AT(field) offsetof(lk_job, field)
#define INT(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_INT, .offset = AT(field), .default_text = def, .min = lo, .max = hi, .help = text}
#define NUM(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_DOUBLE, .offset = AT(field), .default_text = def, .min = lo, .max = hi, .help = text}
#define BOOL(key, field, def, text) {.name = key, .type = LK_OPTION_BOOL, .offset = AT(field), .default_text = def, .help = text}
#define PICK(key, field, def, list, text) {.name = key, .type = LK_OPTION_CHOICE, .offset = AT(field), .default_text = def, .choices = list, .help = text}
#define LIST(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_DOUBLES, .offset = AT(field), .count_offset = AT(field##_count), .default_text = def, .min = lo, .max = hi, .help = text}
#define LONG(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_LONG_DOUBLES, .offset = AT(field), .count_offset = AT(field##_count), .default_text = def, .min = lo, .max = hi, .help = text}
#define TEXT(key, field, def, text) {.name = key, .type = LK_OPTION_STRING, .offset = AT(field), .default_text = def, .help = text}
#define PATH(key, field, text) {.name = key, .type = LK_OPTION_STRING, .offset = AT(field), .optional = true, .help = text}

static const lk_option OPTIONS[] = {
    INT("version", version, "1", 1, 1e9, "format of the job file"),
    TEXT("data", data, NULL, "packed data set (lockstep pack)"),
    TEXT("model", model, NULL, "network, e.g. resnet18, cifar_resnet8"),
    PATH("init", init, "weights that training begins with: .pth, .safetensors or a checkpoint; their input.* become the defaults"),
    PATH("base", base, "job file that this one changes, relative to it; in job files only"),
    TEXT("device", device, "auto", "auto (cuda where a GPU answers), cpu, cuda or reference (float64, slow)"),
    PICK("compute", compute, "float32", LK_COMPUTES, "type of activations; weights, sums and state stay float32; float16 (cuda) is for GPUs without bfloat16, see loss_scale; tf32: float32, but convolutions and the classifier multiply in TF32 (cuda)"),
    INT("epochs", epochs, "10", 1, 1e6, "passes over the training split"),
    INT("max_updates", max_updates, "0", 0, 1e15, "stop after this many updates in all; 0: no limit"),
    INT("batch", batch, "128", 1, 1e7, "samples per update"),
    INT("microbatch", microbatch, "0", 0, 1e6, "samples per forward and backward pass; batch / microbatch leaves are summed; 0: batch / 4"),
    INT("threads_per_microbatch", threads_per_microbatch, "1", 1, 1024, "arithmetic threads of one microbatch (changes the bits)"),
    INT("max_ranks", max_ranks, "0", 0, 1024, "most ranks of any launch, a divisor of batch / microbatch: each then adds runs of microbatches in order, which takes less memory (changes the bits); 0: batch / microbatch"),
    INT("sync_batchnorm", sync_batchnorm, "0", 0, 1024, "microbatches that BatchNorm normalises together; 0 or 1: each alone"),
    PICK("recompute", recompute, "none", RECOMPUTES, "activations that the backward pass computes again instead of keeping them, for less memory and the same bits: none, convs (those of 1x1 convolutions that widen four times or more) or all (also of BatchNorm with an activation and no residual)"),
    PICK("cuda_graphs", cuda_graphs, "auto", GRAPHS, "on GPUs, passes that are captured once and launched as one: auto (whatever can be; docs/gpu.md) or off (kernel by kernel, for debugging); the same bits"),
    PICK("reduce", reduce, "tree", REDUCES, "sum of gradients between ranks: tree (the same bits on every number of ranks) or, on GPUs, ring (NCCL's own order: other numbers of ranks give other bits)"),
    INT("seed", seed, "1", 0, 9007199254740992.0, "of initialisation, order and augmentation"),
    BOOL("drop_last", drop_last, "false", "drop an epoch's last, incomplete batch"),

    NUM("network.dropout", network.dropout, "-1", -1, 0.999999, "before the classifier; -1: the model's published rate (lockstep models)"),
    NUM("network.drop_path", network.drop_path, "-1", -1, 0.999999, "stochastic depth of the last block, less in earlier ones; -1: the model's published rate"),
    NUM("network.bn_momentum", network.bn_momentum, "0", 0, 1, "weight of a microbatch in BatchNorm's running statistics, as PyTorch; 0: the model's own"),

    INT("input.size", input.size, "224", 8, 4096, "height and width the network sees, pixels"),
    PICK("input.color", input.channels, "rgb", COLOURS, "3 or 1 channels"),
    PICK("input.resize", input.resize, "short_side", RESIZES, "evaluation: none, short side then centre crop, or stretch"),
    INT("input.resize_size", input.resize_size, "0", 0, 16384, "short side before the crop, pixels; 0: size * 256 / 224"),
    PICK("input.interpolation", input.interpolation, "bilinear", INTERPOLATIONS, "antialiased, as Pillow"),
    PICK("input.decode", input.decode, "exact", DECODES, "scaled: let JPEG decode to a smaller size, never below the target"),
    LIST("input.mean", input.mean, "0.485, 0.456, 0.406", -10, 10, "of pixels / 255, one per channel"),
    LIST("input.std", input.std, "0.229, 0.224, 0.225", 1e-6, 10, "of pixels / 255, one per channel"),

    PICK("augment.crop", augment.crop, "random_resized", CROPS, "training crop"),
    LIST("augment.scale", augment.scale, "0.08, 1", 1e-4, 1, "random_resized: share of the area, least and most"),
    LIST("augment.ratio", augment.ratio, "0.75, 1.3333333333333333", 0.01, 100, "random_resized: width / height, least and most"),
    INT("augment.pad", augment.pad, "4", 0, 1024, "pad_random: pixels on each side"),
    NUM("augment.hflip", augment.hflip, "0.5", 0, 1, "probability of a horizontal flip"),
    NUM("augment.vflip", augment.vflip, "0", 0, 1, "probability of a vertical flip"),
    NUM("augment.rotate", augment.rotate, "0", 0, 180, "most degrees of a rotation, either way; 0: none"),
    PICK("augment.policy", augment.policy, "none", POLICIES, "torchvision's RandAugment or TrivialAugmentWide"),
    INT("augment.policy_ops", augment.policy_ops, "2", 1, 8, "randaugment: operations a sample"),
    INT("augment.policy_magnitude", augment.policy_magnitude, "9", 0, 999, "randaugment: strength of the operations, below policy_bins"),
    INT("augment.policy_bins", augment.policy_bins, "31", 2, 1000, "number of strengths, 0 the weakest"),
    PICK("augment.interpolation", augment.interpolation, "nearest", SAMPLINGS, "of rotation and policy"),
    LIST("augment.fill", augment.fill, "0", 0, 255, "levels that rotation and policy bring in from outside, one or one per channel"),
    NUM("augment.jitter", augment.jitter, "1", 0, 1, "probability of the colour jitter that the next four describe"),
    NUM("augment.brightness", augment.brightness, "0", 0, 100, "jitter: factor of [max(0, 1 - x), 1 + x]"),
    NUM("augment.contrast", augment.contrast, "0", 0, 100, "jitter: factor of [max(0, 1 - x), 1 + x]"),
    NUM("augment.saturation", augment.saturation, "0", 0, 100, "jitter: factor of [max(0, 1 - x), 1 + x]"),
    NUM("augment.hue", augment.hue, "0", 0, 0.5, "jitter: turn of [-x, x] of the circle of hues"),
    NUM("augment.grayscale", augment.grayscale, "0", 0, 1, "probability that colour is removed"),
    NUM("augment.blur", augment.blur, "0", 0, 1, "probability of a Gaussian blur"),
    INT("augment.blur_kernel", augment.blur_kernel, "5", 3, 255, "blur: pixels across, odd"),
    LIST("augment.blur_sigma", augment.blur_sigma, "0.1, 2", 1e-3, 1000, "blur: standard deviation in pixels, least and most"),
    NUM("augment.noise", augment.noise, "0", 0, 1, "probability of Gaussian noise"),
    NUM("augment.noise_sigma", augment.noise_sigma, "0.1", 0, 10, "noise: standard deviation of pixels / 255"),
    NUM("augment.erase", augment.erase, "0", 0, 1, "probability that a box is erased"),
    LIST("augment.erase_scale", augment.erase_scale, "0.02, 0.33", 1e-6, 1, "erase: share of the area, least and most"),
    LIST("augment.erase_ratio", augment.erase_ratio, "0.3, 3.3", 0.01, 100, "erase: height / width, least and most"),
    PICK("augment.erase_fill", augment.erase_fill, "mean", ERASE_FILLS, "erase: input.mean, normal noise about it with input.std, or black"),
    PICK("sampler.kind", sampler.kind, "shuffled", SAMPLERS, "every sample once; every class equally often; or with replacement by sampler.weights"),
    LONG("sampler.weights", sampler.weights, "", 0, 1e9, "weighted: how likely a sample of each class is, in the data set's order"),
    INT("sampler.draws", sampler.draws, "0", 0, 1e12, "class_balanced, weighted: draws of an epoch; 0: as many as training samples"),
    INT("sampler.repeats", sampler.repeats, "1", 1, 1000, "times that each draw comes in an epoch, augmented differently: the epoch is so much longer"),
    INT("folds", folds, "0", 0, 1000, "cross-validation: number of folds of the training and validation samples; 0: none"),
    INT("fold", fold, "0", 0, 1000, "the fold that validates, from 1"),
    INT("fold_seed", fold_seed, "1", 0, 9007199254740992.0, "of the division into folds"),
    NUM("mix.mixup", mix.mixup, "0", 0, 1000, "alpha of mixup: lambda is Beta(alpha, alpha); 0: off"),
    NUM("mix.cutmix", mix.cutmix, "0", 0, 1000, "alpha of cutmix; 0: off"),
    NUM("mix.prob", mix.prob, "1", 0, 1, "probability that a microbatch is mixed"),
    NUM("mix.cutmix_share", mix.cutmix_share, "0.5", 0, 1, "where mixup and cutmix are both on: how often it is cutmix"),

    NUM("loss.cross_entropy", loss.cross_entropy, "1", 0, 1e6, "factor of the cross-entropy"),
    NUM("loss.focal", loss.focal, "0", 0, 1e6, "factor of the focal loss: -(1 - p)^gamma log p"),
    NUM("loss.f1", loss.f1, "0", 0, 1e6, "factor of 1 - soft macro-F1"),
    NUM("loss.smoothing", loss.smoothing, "0", 0, 0.999999, "label smoothing"),
    PICK("loss.smoothing_rule", loss.smoothing_rule, "uniform", SMOOTHINGS, "smoothing / K on every class, or smoothing / (K - 1) on the others"),
    NUM("loss.focal_gamma", loss.focal_gamma, "2", 0, 100, "gamma of the focal loss"),
    LONG("loss.focal_alpha", loss.focal_alpha, "", 0, 1e6, "alpha of the focal loss, one per class; none: 1"),
    PICK("loss.f1_counts", loss.f1_counts, "window", F1_COUNTS, "F1 over the samples of an update (a second forward pass), or of each microbatch"),
    NUM("loss.f1_epsilon", loss.f1_epsilon, "1e-8", 1e-300, 1e6, "F1 = 2 tp / (predicted + support + epsilon)"),
    PICK("loss.weighting", loss.weighting, "none", WEIGHTINGS, "class weights: N / (K n), or (1 - beta) / (1 - beta^n) scaled to sum K"),
    LONG("loss.class_weights", loss.class_weights, "", 0, 1e6, "weighting given: one per class, in the data set's order"),
    NUM("loss.effective_beta", loss.effective_beta, "0.999", 0, 0.999999999, "beta of effective_number"),
    NUM("loss.logit_adjustment", loss.logit_adjustment, "0", 0, 100, "tau: training logits + tau log(share of the class); 0: off"),
    PICK("loss_scale.kind", loss_scale.kind, "auto", LOSS_SCALES, "gradients of the loss times a power of two that halves where they overflow, as torch.amp.GradScaler: the update is then skipped; auto: with compute float16 alone"),
    NUM("loss_scale.initial", loss_scale.initial, "65536", 1, 1e38, "the first factor, a power of two"),
    INT("loss_scale.growth_interval", loss_scale.growth_interval, "2000", 1, 1e9, "updates without overflow after which it doubles"),
    PICK("optimizer.kind", optimizer.kind, "sgd", OPTIMIZERS, "as torch.optim; rmsprop_tf: timm's RMSpropTF"),
    NUM("optimizer.lr", optimizer.lr, "0.1", 0, 1e6, "learning rate; one_cycle: the highest"),
    NUM("optimizer.momentum", optimizer.momentum, "0.9", 0, 0.999999, "sgd, rmsprop, rmsprop_tf; 0: none"),
    NUM("optimizer.dampening", optimizer.dampening, "0", 0, 1, "sgd: of the momentum"),
    NUM("optimizer.weight_decay", optimizer.weight_decay, "0.0001", 0, 1e3, "added to the gradient; adamw: lr * weight_decay off the weight"),
    BOOL("optimizer.nesterov", optimizer.nesterov, "false", "sgd: Nesterov momentum"),
    BOOL("optimizer.decay_norm_and_bias", optimizer.decay_norm_and_bias, "true", "false: no weight decay on BatchNorm and biases"),
    TEXT("optimizer.no_decay", optimizer.no_decay, "", "parameters without weight decay: glob patterns of their names between commas, as freeze.names"),
    NUM("optimizer.beta1", optimizer.beta1, "0.9", 0, 0.999999, "adam, adamw"),
    NUM("optimizer.beta2", optimizer.beta2, "0.999", 0, 0.99999999, "adam, adamw"),
    NUM("optimizer.alpha", optimizer.alpha, "0.99", 0, 0.99999999, "rmsprop, rmsprop_tf: share of the mean square that stays"),
    NUM("optimizer.epsilon", optimizer.epsilon, "1e-8", 1e-30, 1, "adam, adamw, rmsprop, rmsprop_tf"),
    BOOL("optimizer.epsilon_inside_sqrt", optimizer.epsilon_inside_sqrt, "false", "rmsprop: sqrt(mean square + epsilon)"),
    BOOL("optimizer.centered", optimizer.centered, "false", "rmsprop, rmsprop_tf: the variance instead of the mean square"),
    NUM("optimizer.clip_norm", optimizer.clip_norm, "0", 0, 1e12, "highest norm of the whole gradient; 0: none"),
    NUM("optimizer.clip_value", optimizer.clip_value, "0", 0, 1e12, "limit of every element of the gradient; 0: none"),
    NUM("optimizer.layer_decay", optimizer.layer_decay, "1", 1e-6, 1, "factor of the learning rate from each block to the one below it, the classifier keeps lr; 1: none"),
    TEXT("freeze.names", freeze.names, "", "parameters that are not trained: glob patterns of their names between commas, e.g. conv1, bn1, layer*"),
    BOOL("freeze.batchnorm", freeze.batchnorm, "false", "true: BatchNorm layers that freeze.names freezes normalise with their running statistics and keep them"),
    NUM("ema.decay", ema.decay, "0", 0, 0.99999999, "moving average of weights and BatchNorm's statistics, which is then evaluated, saved and exported; 0: none"),
    BOOL("ema.warmup", ema.warmup, "false", "the decay starts low: 1 - (1 + updates / warmup_gamma)^-warmup_power, at most ema.decay"),
    NUM("ema.warmup_gamma", ema.warmup_gamma, "1", 1e-6, 1e12, "as timm's ModelEmaV3"),
    NUM("ema.warmup_power", ema.warmup_power, "0.66666666666666663", 1e-6, 100, "as timm's ModelEmaV3"),
    PICK("schedule.kind", schedule.kind, "step", SCHEDULES, "learning rate over the updates"),
    PICK("schedule.per", schedule.per, "update", PERS, "when the rate changes; epoch: lengths are whole epochs"),
    INT("schedule.epochs", schedule.epochs, "0", 0, 1e6, "cosine, one_cycle, polynomial: length, warm-up included; 0: the run's"),
    NUM("schedule.step_epochs", schedule.step_epochs, "30", 0.001, 1e6, "step: epochs between decays"),
    NUM("schedule.gamma", schedule.gamma, "0.1", 0, 1, "step, multistep: factor of a decay; exponential: of an epoch"),
    NUM("schedule.warmup_epochs", schedule.warmup_epochs, "0", 0, 1e6, "linear warm-up before the schedule"),
    NUM("schedule.warmup_factor", schedule.warmup_factor, "0.01", 0, 1, "first rate of the warm-up as a share of the schedule's first"),
    NUM("schedule.eta_min", schedule.eta_min, "0", 0, 1e6, "cosine, cosine_restarts, polynomial: last rate"),
    LIST("schedule.milestones", schedule.milestones, "30, 60, 80", 0.001, 1e6, "multistep: epochs after the warm-up at which the rate decays"),
    NUM("schedule.restart_epochs", schedule.restart_epochs, "10", 0.001, 1e6, "cosine_restarts: length of the first cycle"),
    INT("schedule.restart_factor", schedule.restart_factor, "1", 1, 1000, "cosine_restarts: each cycle is so many times as long as the one before"),
    NUM("schedule.power", schedule.power, "1", 0, 100, "polynomial: exponent"),
    NUM("schedule.pct_start", schedule.pct_start, "0.3", 0, 1, "one_cycle: share of the length in which the rate rises to optimizer.lr"),
    NUM("schedule.div_factor", schedule.div_factor, "25", 1, 1e12, "one_cycle: the first rate is optimizer.lr / div_factor"),
    NUM("schedule.final_div_factor", schedule.final_div_factor, "10000", 1, 1e12, "one_cycle: the last rate is the first / final_div_factor"),
    PICK("schedule.anneal", schedule.anneal, "cosine", ANNEALS, "one_cycle: form of rise and fall"),
    BOOL("schedule.three_phase", schedule.three_phase, "false", "one_cycle: fall as long as the rise, then to the last rate"),
    BOOL("schedule.cycle_momentum", schedule.cycle_momentum, "true", "one_cycle: momentum (Adam: beta1) goes the other way"),
    NUM("schedule.base_momentum", schedule.base_momentum, "0.85", 0, 0.999999, "one_cycle: momentum at the highest rate"),
    NUM("schedule.max_momentum", schedule.max_momentum, "0.95", 0, 0.999999, "one_cycle: momentum at the first and last rate"),
    PICK("schedule.monitor", schedule.monitor, "loss", MONITORS, "plateau: validation figure; loss shall fall, f1 (macro-F1) shall rise"),
    NUM("schedule.factor", schedule.factor, "0.1", 0, 0.999999, "plateau: of a reduction"),
    INT("schedule.patience", schedule.patience, "10", 0, 1e6, "plateau: epochs without improvement that are borne"),
    NUM("schedule.threshold", schedule.threshold, "0.0001", 0, 1e6, "plateau: least improvement"),
    PICK("schedule.threshold_mode", schedule.threshold_mode, "relative", THRESHOLDS, "plateau: threshold as a share of the best figure, or as a difference"),
    INT("schedule.cooldown", schedule.cooldown, "0", 0, 1e6, "plateau: epochs after a reduction that do not count"),
    NUM("schedule.min_lr", schedule.min_lr, "0", 0, 1e6, "plateau: lowest rate"),
    NUM("schedule.eps", schedule.eps, "1e-8", 0, 1e6, "plateau: a reduction by no more than this is not made"),

    INT("evaluate.batch", evaluate.batch, "0", 0, 1e6, "samples per evaluation batch; 0: microbatch"),
    INT("checkpoint.keep_best", checkpoint.keep_best, "1", 1, 1000, "how many best checkpoints of each kind stay"),
    INT("checkpoint.every", checkpoint.every, "0", 0, 1e15, "updates between writes of last.h5; 0: not by updates"),
    NUM("checkpoint.minutes", checkpoint.minutes, "10", 0, 1e6, "minutes between writes of last.h5; 0: not by time"),
    INT("checkpoint.golden", checkpoint.golden, "4", 1, 64, "images whose logits travel with the model"),
    INT("early_stop.patience", early_stop.patience, "0", 0, 1e6, "epochs without a new best before the run ends; 0: never"),
    PICK("early_stop.monitor", early_stop.monitor, "f1", MONITORS, "which best"),
    INT("loader.workers", loader.workers, "0", 0, 1024, "decoding threads of a rank; 0: one per core"),
    INT("loader.prefetch", loader.prefetch, "4", 1, 1024, "microbatches decoded ahead"),
};
/* clang-format on */

const lk_option *lk_job_options(int *count) {
    *count = (int)(sizeof OPTIONS / sizeof OPTIONS[0]);
    return OPTIONS;
}
