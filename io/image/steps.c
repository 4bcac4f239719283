/* What is drawn for a sample behind its crop. */
#include <math.h>

#include "io/image/augment.h"

const char *lk_step_kind_name(lk_step_kind kind) {
    static const char *const names[LK_STEP_COUNT] = {
#define X(name, text, value) text,
        LK_STEP_LIST(X)
#undef X
    };
    return (unsigned)kind < LK_STEP_COUNT ? names[kind] : "unknown";
}

typedef struct draws {
    lk_random_key key;
    uint64_t position;
} draws;

static double uniform(const draws *d, uint32_t sub, double low, double high) {
    return low + (high - low) * lk_random_uniform_double(&d->key, d->position, sub);
}

static bool chance(const draws *d, uint32_t sub, double probability) {
    return lk_random_uniform_double(&d->key, d->position, sub) < probability;
}

static int below(const draws *d, uint32_t sub, int bound) {
    return (int)lk_random_below(&d->key, d->position, sub, (uint64_t)bound);
}

static void add(lk_steps *steps, lk_step_kind kind, double value) {
    steps->steps[steps->count++] = (lk_step){.kind = kind, .value = value};
}

/* One line of a policy: strengths run from `first` to `last` in equal parts; ENHANCE: the factor is 1 + strength. */
typedef enum policy_form { PLAIN, SIGNED, ENHANCE, BITS } policy_form;
typedef struct policy_op {
    lk_step_kind kind; /* LK_STEP_COUNT: identity */
    policy_form form;
    double first, last;
} policy_op;

enum { POLICY_OPS = 14 };

/* The same operations in the same order; translation of RandAugment is a share of the side. Source: torchvision,
 * RandAugment._augmentation_space, TrivialAugmentWide._augmentation_space. */
static const policy_op POLICIES[LK_POLICY_COUNT][POLICY_OPS] = {
    [LK_POLICY_RAND] = {{LK_STEP_COUNT, PLAIN, 0, 0},
                        {LK_STEP_SHEAR_X, SIGNED, 0, 0.3},
                        {LK_STEP_SHEAR_Y, SIGNED, 0, 0.3},
                        {LK_STEP_TRANSLATE_X, SIGNED, 0, 150.0 / 331.0},
                        {LK_STEP_TRANSLATE_Y, SIGNED, 0, 150.0 / 331.0},
                        {LK_STEP_ROTATE, SIGNED, 0, 30},
                        {LK_STEP_BRIGHTNESS, ENHANCE, 0, 0.9},
                        {LK_STEP_SATURATION, ENHANCE, 0, 0.9},
                        {LK_STEP_CONTRAST, ENHANCE, 0, 0.9},
                        {LK_STEP_SHARPNESS, ENHANCE, 0, 0.9},
                        {LK_STEP_POSTERIZE, BITS, 0, 4},
                        {LK_STEP_SOLARIZE, PLAIN, 255, 0},
                        {LK_STEP_AUTOCONTRAST, PLAIN, 0, 0},
                        {LK_STEP_EQUALIZE, PLAIN, 0, 0}},
    [LK_POLICY_TRIVIAL] = {{LK_STEP_COUNT, PLAIN, 0, 0},
                           {LK_STEP_SHEAR_X, SIGNED, 0, 0.99},
                           {LK_STEP_SHEAR_Y, SIGNED, 0, 0.99},
                           {LK_STEP_TRANSLATE_X, SIGNED, 0, 32},
                           {LK_STEP_TRANSLATE_Y, SIGNED, 0, 32},
                           {LK_STEP_ROTATE, SIGNED, 0, 135},
                           {LK_STEP_BRIGHTNESS, ENHANCE, 0, 0.99},
                           {LK_STEP_SATURATION, ENHANCE, 0, 0.99},
                           {LK_STEP_CONTRAST, ENHANCE, 0, 0.99},
                           {LK_STEP_SHARPNESS, ENHANCE, 0, 0.99},
                           {LK_STEP_POSTERIZE, BITS, 0, 6},
                           {LK_STEP_SOLARIZE, PLAIN, 255, 0},
                           {LK_STEP_AUTOCONTRAST, PLAIN, 0, 0},
                           {LK_STEP_EQUALIZE, PLAIN, 0, 0}},
};

/* Source: torch.linspace in float32, which counts from the nearer end and rounds once. */
static double linspace(double first, double last, int bins, int i) {
    double step = (double)(((float)last - (float)first) / (float)(bins - 1));
    double value = i < bins / 2 ? (double)(float)first + step * i : (double)(float)last - step * (bins - 1 - i);
    return (double)(float)value;
}

static double strength(const policy_op *op, int bins, int bin, double side) {
    if (op->form == BITS) return 8 - (double)rintf((float)bin / (float)((bins - 1) / op->last));
    return linspace(op->first, op->last * side, bins, bin);
}

static void draw_policy(lk_steps *steps, const lk_augment *augment, const draws *d, int32_t width, int32_t height) {
    bool rand = augment->policy == LK_POLICY_RAND;
    int count = augment->policy == LK_POLICY_NONE ? 0 : rand ? augment->policy_ops : 1;
    for (int t = 0; t < count && t < LK_POLICY_OPS_MAX; t++) {
        uint32_t sub = LK_DRAW_POLICY + 3 * (uint32_t)t;
        const policy_op *op = &POLICIES[augment->policy][below(d, sub, POLICY_OPS)];
        if (op->kind == LK_STEP_COUNT) continue;
        int bin = rand ? augment->policy_magnitude : below(d, sub + 1, augment->policy_bins);
        double side = !rand                             ? 1
                      : op->kind == LK_STEP_TRANSLATE_X ? width
                      : op->kind == LK_STEP_TRANSLATE_Y ? height
                                                        : 1;
        double value = strength(op, augment->policy_bins, bin, side);
        if ((op->form == SIGNED || op->form == ENHANCE) && below(d, sub + 2, 2) == 1) value = -value;
        add(steps, op->kind, op->form == ENHANCE ? 1 + value : value);
    }
}

static void draw_jitter(lk_steps *steps, const lk_augment *augment, const draws *d) {
    enum { PARTS = 4 };
    static const lk_step_kind kinds[PARTS] = {LK_STEP_BRIGHTNESS, LK_STEP_CONTRAST, LK_STEP_SATURATION, LK_STEP_HUE};
    const double widths[PARTS] = {augment->brightness, augment->contrast, augment->saturation, augment->hue};
    if (!chance(d, LK_DRAW_JITTER, augment->jitter)) return;
    int order[PARTS] = {0, 1, 2, 3};
    for (int i = PARTS - 1; i > 0; i--) {
        int j = below(d, LK_DRAW_JITTER_ORDER + (uint32_t)(PARTS - 1 - i), i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < PARTS; i++) {
        int k = order[i];
        if (widths[k] <= 0) continue;
        double middle = kinds[k] == LK_STEP_HUE ? 0 : 1, low = middle - widths[k];
        if (kinds[k] != LK_STEP_HUE && low < 0) low = 0;
        add(steps, kinds[k], uniform(d, LK_DRAW_JITTER_FACTOR + (uint32_t)k, low, middle + widths[k]));
    }
}

/* Source: torchvision, RandomErasing.get_params. */
static void draw_erasing(lk_steps *steps, const lk_augment *augment, const draws *d, int32_t width, int32_t height) {
    enum { TRIES = 10 };
    if (!chance(d, LK_DRAW_ERASE, augment->erase)) return;
    double area = (double)width * height;
    double log_min = log(augment->erase_ratio_min), log_max = log(augment->erase_ratio_max);
    for (uint32_t t = 0; t < TRIES; t++) {
        double part = area * uniform(d, LK_DRAW_ERASE_AREA + 2 * t, augment->erase_scale_min, augment->erase_scale_max);
        double ratio = exp(uniform(d, LK_DRAW_ERASE_RATIO + 2 * t, log_min, log_max));
        double h = rint(sqrt(part * ratio)), w = rint(sqrt(part / ratio));
        if (!(h < height && w < width)) continue;
        lk_rect box = {0, 0, (int32_t)w, (int32_t)h};
        box.y = below(d, LK_DRAW_ERASE_TOP, height - box.height + 1);
        box.x = below(d, LK_DRAW_ERASE_LEFT, width - box.width + 1);
        add(steps, LK_STEP_ERASE, 0);
        steps->steps[steps->count - 1].box = box;
        return;
    }
}

void lk_steps_draw(lk_steps *out, const lk_augment *augment, const lk_sample_key *key, int32_t width, int32_t height) {
    const draws d = {{key->seed, key->epoch, LK_RANDOM_AUGMENT}, (uint64_t)key->position};
    out->count = 0;
    if (chance(&d, LK_DRAW_VFLIP, augment->vflip)) add(out, LK_STEP_VFLIP, 0);
    if (augment->rotate > 0) add(out, LK_STEP_ROTATE, uniform(&d, LK_DRAW_ROTATE, -augment->rotate, augment->rotate));
    draw_policy(out, augment, &d, width, height);
    draw_jitter(out, augment, &d);
    if (chance(&d, LK_DRAW_GRAYSCALE, augment->grayscale)) add(out, LK_STEP_GRAYSCALE, 0);
    if (chance(&d, LK_DRAW_BLUR, augment->blur))
        add(out, LK_STEP_BLUR, uniform(&d, LK_DRAW_BLUR_SIGMA, augment->blur_min, augment->blur_max));
    if (chance(&d, LK_DRAW_NOISE, augment->noise)) add(out, LK_STEP_NOISE, augment->noise_sigma);
    draw_erasing(out, augment, &d, width, height);
}
