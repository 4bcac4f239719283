/* Faults of maximum pooling and of the global mean. */
#include <math.h>

#include "fault.h"

typedef enum pool_way {
    PAD_ZERO,   /* padding counts as 0 */
    NAN_PASSED, /* NaN never wins */
    MEAN,       /* mean instead of maximum */
    NO_EDGE,    /* the window's last column is left out */
    NO_PAD,     /* windows start at the first pixel */
    LAST_WINS,  /* among equals the last gets the gradient */
    ALL_WIN,    /* all equals get the gradient */
    OVERWRITES, /* where windows overlap the last gradient stays */
    SHARED      /* the gradient is spread over the window */
} pool_way;

typedef struct window {
    int64_t y0, y1, x0, x1; /* rows and columns inside the image, ends excluded */
    bool padded;            /* part of it lies outside */
} window;

static window window_at(const lk_op_desc *d, pool_way how, int64_t oy, int64_t ox) {
    int64_t pad = how == NO_PAD ? 0 : d->maxpool.pad, y = oy * d->maxpool.stride - pad;
    int64_t x = ox * d->maxpool.stride - pad, height = d->maxpool.kernel, width = height - (how == NO_EDGE ? 1 : 0);
    window w = {y < 0 ? 0 : y, y + height, x < 0 ? 0 : x, x + width, false};
    w.padded = y < 0 || x < 0 || w.y1 > d->x.h || w.x1 > d->x.w;
    if (w.y1 > d->x.h) w.y1 = d->x.h;
    if (w.x1 > d->x.w) w.x1 = d->x.w;
    return w;
}

static bool pool_y_again(op_fault_site *s, int how) {
    const lk_op_desc *d = &s->desc;
    if ((how == PAD_ZERO || how == NO_PAD) && d->maxpool.pad == 0) return false;
    OP_FOR_EACH(&s->info.y, n, c, oy, ox) {
        window w = window_at(d, how, oy, ox);
        double best = how == PAD_ZERO && w.padded ? 0 : -INFINITY, sum = 0;
        for (int64_t y = w.y0; y < w.y1; y++)
            for (int64_t x = w.x0; x < w.x1; x++) {
                double value = op_at(&d->x, s->b.x, n, c, y, x);
                sum += value;
                if (value > best || (isnan(value) && how != NAN_PASSED)) best = value;
            }
        op_set(&s->info.y, s->b.y, n, c, oy, ox, how == MEAN ? sum / (double)((w.y1 - w.y0) * (w.x1 - w.x0)) : best);
    }
    return true;
}

static bool pool_dx_again(op_fault_site *s, int how) {
    const lk_op_desc *d = &s->desc;
    if (!d->need_dx || s->kept_x == NULL) return false;
    OP_FOR_EACH(&d->x, n, c, y, x) op_set(&d->x, s->b.dx, n, c, y, x, 0);
    OP_FOR_EACH(&s->info.y, n, c, oy, ox) {
        window w = window_at(d, how, oy, ox);
        double best = -INFINITY, dy = op_fault_dy(s, n, c, oy, ox);
        int64_t at_y = w.y0, at_x = w.x0;
        for (int64_t y = w.y0; y < w.y1; y++)
            for (int64_t x = w.x0; x < w.x1; x++) {
                double value = op_at(&d->x, s->kept_x, n, c, y, x);
                bool wins = value > best || isnan(value) || (how == LAST_WINS && value == best);
                if (wins) best = value, at_y = y, at_x = x;
            }
        for (int64_t y = w.y0; y < w.y1; y++)
            for (int64_t x = w.x0; x < w.x1; x++) {
                bool equal = op_at(&d->x, s->kept_x, n, c, y, x) == best;
                bool gets = how == SHARED || (how == ALL_WIN && equal) || (y == at_y && x == at_x);
                double share = how == SHARED ? dy / (double)((w.y1 - w.y0) * (w.x1 - w.x0)) : dy;
                double before = how == OVERWRITES ? 0 : op_at(&d->x, s->b.dx, n, c, y, x);
                if (gets) op_set(&d->x, s->b.dx, n, c, y, x, before + share);
            }
    }
    return true;
}

typedef enum mean_way { SUM, MAXIMUM, BY_WIDTH, LAST_PIXEL, NOT_DIVIDED, ONE_PIXEL } mean_way;

static bool mean_y_again(op_fault_site *s, int how) {
    const lk_act_desc *d = &s->desc.x;
    OP_FOR_EACH(&s->info.y, n, c, oy, ox) {
        double sum = 0, largest = -INFINITY;
        for (int64_t y = 0; y < d->h; y++)
            for (int64_t x = 0; x < d->w; x++) {
                double value = op_at(d, s->b.x, n, c, y, x);
                if (how == LAST_PIXEL && y == d->h - 1 && x == d->w - 1) value = 0;
                sum += value;
                if (value > largest) largest = value;
            }
        double count = how == SUM ? 1 : how == BY_WIDTH ? (double)(d->w * d->w) : (double)(d->h * d->w);
        op_set(&s->info.y, s->b.y, n, c, oy, ox, how == MAXIMUM ? largest : sum / count);
    }
    return d->h * d->w > 1 && (how != BY_WIDTH || d->h != d->w);
}

static bool mean_dx_again(op_fault_site *s, int how) {
    const lk_act_desc *d = &s->desc.x;
    if (!s->desc.need_dx || d->h * d->w == 1) return false;
    OP_FOR_EACH(d, n, c, y, x) {
        double dy = op_fault_dy(s, n, c, 0, 0) / (how == NOT_DIVIDED ? 1 : (double)(d->h * d->w));
        op_set(d, s->b.dx, n, c, y, x, how == ONE_PIXEL && y + x > 0 ? 0 : dy);
    }
    return true;
}

const op_fault *op_faults_of_maxpool(int *count) {
    static const op_fault FAULTS[] = {
        {"padding counts as 0", PAD_ZERO, .after_forward = pool_y_again},
        {"NaN never wins", NAN_PASSED, .after_forward = pool_y_again},
        {"it is the mean", MEAN, .after_forward = pool_y_again},
        {"the window's last column is left out", NO_EDGE, .after_forward = pool_y_again},
        {"windows start at the first pixel", NO_PAD, .after_forward = pool_y_again},
        {"the last of equal maxima gets the gradient", LAST_WINS, .after_backward = pool_dx_again},
        {"all equal maxima get the gradient", ALL_WIN, .after_backward = pool_dx_again},
        {"overlapping windows overwrite each other's gradients", OVERWRITES, .after_backward = pool_dx_again},
        {"the gradient is spread over the window", SHARED, .after_backward = pool_dx_again},
        {"the gradient goes to a window at the first pixel", NO_PAD, .after_backward = pool_dx_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}

const op_fault *op_faults_of_global_avgpool(int *count) {
    static const op_fault FAULTS[] = {
        {"it is the sum", SUM, .after_forward = mean_y_again},
        {"it is the maximum", MAXIMUM, .after_forward = mean_y_again},
        {"it is divided by the square of the width", BY_WIDTH, .after_forward = mean_y_again},
        {"the last pixel is left out", LAST_PIXEL, .after_forward = mean_y_again},
        {"dx is not divided", NOT_DIVIDED, .after_backward = mean_dx_again},
        {"dx goes to one pixel", ONE_PIXEL, .after_backward = mean_dx_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
