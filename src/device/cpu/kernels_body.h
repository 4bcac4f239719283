/* The loops of kernels.h over one element type and lane count. Included several times, each with these set:
 *   LK_K(name)       the function's name in this instance
 *   LK_E             element type: float or uint16_t (bfloat16)
 *   LK_LANES         8 or 1
 *   LK_V(name)       v8_name or s1_name
 *   LK_LOAD, LK_STORE  of LK_E
 *   LK_VF, LK_VI, LK_VD  vectors of LK_LANES floats, masks, doubles */

#define LK_CHUNK 256 /* pixels summed in float before they enter a double; 8 KiB stay in the first-level cache */

LK_INLINE LK_VD LK_K(widen)(LK_VF v) {
#if LK_LANES == 1
    return (double)v;
#else
    return __builtin_convertvector(v, v8d);
#endif
}

LK_INLINE LK_VF LK_K(narrow)(const float *p) { return LK_V(load_f32)(p); }

LK_INLINE void LK_K(store_doubles)(double *p, LK_VD v) { memcpy(p, &v, sizeof v); }

/* max(v, 0) that lets NaN through */
LK_INLINE LK_VF LK_K(relu)(LK_VF v) { return LK_V(at_least)(v, 0); }

/* min(max(v, 0), 6) that lets NaN through */
LK_INLINE LK_VF LK_K(relu6)(LK_VF v) { return LK_V(at_most)(LK_V(at_least)(v, 0), 6); }

/* exp(-v) as a product: of what lies between 0.7 and 1.5, and of a power of two. */
typedef struct LK_K(exp_parts) {
    LK_VF fraction, power;
} LK_K(exp_parts);

/* Within 1.6 + |v| / 40 units of 2^-23 for v in [-87, 87]; NaN stays NaN.
 * exp(u) = 2^m exp(r) with m = round(u / ln 2), |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2 q(r) with the cubic q of
 * least largest relative error (1.05e-7; by Lawson's algorithm). */
LK_INLINE LK_K(exp_parts) LK_K(exp_less)(LK_VF v) {
    const LK_VF round = LK_V(splat)(12582912.0f); /* 1.5 * 2^23: a sum with it ends in the nearest whole number */
    LK_VF shifted = LK_V(fma)(v, LK_V(splat)(-1.44269504088896341f), round);
    LK_VF less = LK_V(add_ln2)(v, shifted - round); /* -r */
    LK_VF high = LK_V(fma)(less, LK_V(splat)(-0.008312501f), LK_V(splat)(0.04189033f));
    LK_VF low = LK_V(fma)(less, LK_V(splat)(-0.16667116f), LK_V(splat)(0.4999923f));
    LK_VF square = less * less, q = LK_V(fma)(high, square, low);
    LK_VF fraction = LK_V(fma)(q, square, LK_V(splat)(1) - less);
    return (LK_K(exp_parts)){fraction, LK_V(power_of_two)(shifted)};
}

/* 1 + exp(-v), of v within [-87, 87] */
LK_INLINE LK_VF LK_K(one_and_exp)(LK_VF v) {
    LK_K(exp_parts) e = LK_K(exp_less)(LK_V(at_most)(LK_V(at_least)(v, -87), 87));
    return LK_V(fma)(e.fraction, e.power, LK_V(splat)(1));
}

/* dy times the derivative of v's sigmoid s, or of v s: with e = exp(-v), e / (1 + e)^2 and (1 + e + v e) / (1 + e)^2.
 * v counts from -40 on: there either is less than 2e-16, and (1 + e)^2 stays finite. */
LK_INLINE LK_VF LK_K(sigmoid_gradient)(LK_VF v, LK_VF dy, bool times_v) {
    v = LK_V(at_most)(LK_V(at_least)(v, -40), 87);
    LK_K(exp_parts) parts = LK_K(exp_less)(v);
    LK_VF e = parts.fraction * parts.power, sum = e + 1;
    return dy * (times_v ? LK_V(fma)(v, e, sum) : e) / (sum * sum);
}

/* d scale + beta, before the activation. One function for both passes: backward finds the z of forward. */
LK_INLINE LK_VF LK_K(line)(lk_act act, LK_VF d, LK_VF scale, LK_VF beta) {
    return act == LK_ACT_SILU ? LK_V(fma)(d, scale, beta) : d * scale + beta;
}

/* act is a constant wherever this is inlined: no loop branches on it. */
LK_INLINE LK_VF LK_K(act)(lk_act act, LK_VF v) {
    switch (act) {
        case LK_ACT_RELU: return LK_K(relu)(v);
        case LK_ACT_RELU6: return LK_K(relu6)(v);
        case LK_ACT_SILU: return v / LK_K(one_and_exp)(v);
        case LK_ACT_HARD_SWISH: return v * (LK_K(relu6)(v + 3) * (1.0f / 6));
        case LK_ACT_SIGMOID: return 1 / LK_K(one_and_exp)(v);
        case LK_ACT_HARD_SIGMOID: return LK_K(relu6)(v + 3) * (1.0f / 6);
        default: return v;
    }
}

/* dy act'(z). v: z, or with `from_y` (where lk_act_invertible) act(z) in its stead. */
LK_INLINE LK_VF LK_K(act_gradient)(lk_act act, LK_VF v, LK_VF dy, bool from_y) {
    const LK_VF zero = LK_V(splat)(0);
    switch (act) {
        case LK_ACT_RELU: return LK_V(select)(v <= 0, zero, dy);
        case LK_ACT_RELU6: return LK_V(select)((v <= 0) | (v >= 6), zero, dy);
        case LK_ACT_SILU: return LK_K(sigmoid_gradient)(v, dy, true);
        case LK_ACT_HARD_SWISH:
            dy = LK_V(select)(v >= 3, dy, dy * (v * (1.0f / 3) + 0.5f));
            return LK_V(select)(v <= -3, zero, dy);
        case LK_ACT_SIGMOID: return from_y ? dy * (v * (1 - v)) : LK_K(sigmoid_gradient)(v, dy, false);
        case LK_ACT_HARD_SIGMOID:
            if (from_y) return LK_V(select)((v <= 0) | (v >= 1), zero, dy * (1.0f / 6));
            return LK_V(select)((v <= -3) | (v >= 3), zero, dy * (1.0f / 6));
        default: return dy;
    }
}

/* CALL(a) with the activation as a constant. */
#define LK_EACH_ACT(act, CALL)                                      \
    switch (act) {                                                  \
        case LK_ACT_RELU: CALL(LK_ACT_RELU); break;                 \
        case LK_ACT_RELU6: CALL(LK_ACT_RELU6); break;               \
        case LK_ACT_SILU: CALL(LK_ACT_SILU); break;                 \
        case LK_ACT_HARD_SWISH: CALL(LK_ACT_HARD_SWISH); break;     \
        case LK_ACT_SIGMOID: CALL(LK_ACT_SIGMOID); break;           \
        case LK_ACT_HARD_SIGMOID: CALL(LK_ACT_HARD_SIGMOID); break; \
        default: CALL(LK_ACT_NONE); break;                          \
    }

/* Sum of (x - shift) over n pixels, in four chains. */
LK_INLINE LK_VF LK_K(chunk_sum)(const LK_E *x, int64_t n, int64_t stride, LK_VF shift) {
    LK_VF a = LK_V(splat)(0), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += LK_LOAD(x + i * stride) - shift;
        b += LK_LOAD(x + (i + 1) * stride) - shift;
        c += LK_LOAD(x + (i + 2) * stride) - shift;
        d += LK_LOAD(x + (i + 3) * stride) - shift;
    }
    for (; i < n; i++) a += LK_LOAD(x + i * stride) - shift;
    return (a + b) + (c + d);
}

/* Sums of x - shift and of its square. */
LK_INLINE void LK_K(chunk_moments)(const LK_E *x, int64_t n, int64_t stride, LK_VF shift, LK_VF *sum, LK_VF *squares) {
    LK_VF a = LK_V(splat)(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        LK_VF p = LK_LOAD(x + i * stride) - shift, q = LK_LOAD(x + (i + 1) * stride) - shift;
        LK_VF r = LK_LOAD(x + (i + 2) * stride) - shift, s = LK_LOAD(x + (i + 3) * stride) - shift;
        a += p, b += q, c += r, d += s;
        e += p * p, f += q * q, g += r * r, h += s * s;
    }
    for (; i < n; i++) {
        LK_VF p = LK_LOAD(x + i * stride) - shift;
        a += p;
        e += p * p;
    }
    *sum = (a + b) + (c + d);
    *squares = (e + f) + (g + h);
}

static void LK_K(bn_statistics)(const lk_cpu_group *g, const void *x_, double *mean_out, double *m2_out) {
    LK_VD mean = LK_K(widen)(LK_V(splat)(0)), m2 = mean;
    double count = 0;
    for (int64_t plane = 0; plane < g->planes; plane++) {
        for (int64_t first = 0; first < g->pixels; first += LK_CHUNK) {
            int64_t n = g->pixels - first < LK_CHUNK ? g->pixels - first : LK_CHUNK;
            const LK_E *x = (const LK_E *)x_ + plane * g->plane_stride + first * g->pixel_stride;
            LK_VF sum = LK_K(chunk_sum)(x, n, g->pixel_stride, LK_V(splat)(0));
            LK_VF centre = sum * LK_V(splat)(1.0f / (float)n);
            LK_VF moved, moved_squares;
            LK_K(chunk_moments)(x, n, g->pixel_stride, centre, &moved, &moved_squares);
            LK_VD rest = LK_K(widen)(moved), squares = LK_K(widen)(moved_squares);
            LK_VD chunk_mean = LK_K(widen)(centre) + rest / (double)n;
            LK_VD delta = chunk_mean - mean;
            double total = count + (double)n;
            mean += delta * ((double)n / total);
            m2 += (squares - rest * rest / (double)n) + delta * delta * (count * (double)n / total);
            count = total;
        }
    }
    LK_K(store_doubles)(mean_out, mean);
    LK_K(store_doubles)(m2_out, m2);
}

LK_INLINE void LK_K(bn_forward_with)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const LK_E *x,
                                     const LK_E *residual, const float *keep, LK_E *y, uint8_t *mask, lk_act act) {
    LK_VF mean = LK_K(narrow)(p->mean), scale = LK_K(narrow)(p->scale), beta = LK_K(narrow)(p->beta);
    for (int64_t plane = 0; plane < g->planes; plane++) {
        int64_t at = plane * g->plane_stride;
        for (int64_t i = 0; i < g->pixels; i++, at += g->pixel_stride) {
            LK_VF v = LK_K(line)(act, LK_LOAD(x + at) - mean, scale, beta);
            if (keep != NULL) v *= keep[plane];
            if (residual != NULL) v += LK_LOAD(residual + at);
            if (mask != NULL) mask[plane * g->pixels + i] = LK_V(pack_bits)(v <= 0);
            LK_STORE(y + at, LK_K(act)(act, v));
        }
    }
}

static void LK_K(bn_forward)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const void *x, const void *residual,
                             const float *keep, void *y, uint8_t *mask, lk_act act) {
#define CALL(a)                                                         \
    do {                                                                \
        if (residual == NULL && keep == NULL)                           \
            LK_K(bn_forward_with)(g, p, x, NULL, NULL, y, NULL, a);     \
        else if (mask != NULL)                                          \
            LK_K(bn_forward_with)(g, p, x, residual, keep, y, mask, a); \
        else                                                            \
            LK_K(bn_forward_with)(g, p, x, residual, keep, y, NULL, a); \
    } while (0)
    LK_EACH_ACT(act, CALL)
#undef CALL
}

/* How the loops of one backward pass differ; constants wherever they are inlined and speed asks for it. */
typedef struct LK_K(bn_way) {
    lk_act act;
    bool two;      /* gradients arrive */
    bool masked;   /* the stash says what the activation stopped */
    bool residual; /* goes into the activation's derivative */
    bool keep;     /* a factor per sample */
    bool store;    /* the gradient that passed the activation is written: to `passed`, to dresidual */
    bool fixed;    /* dx knows no sums */
} LK_K(bn_way);

/* The lanes of backward's parameters. */
typedef struct LK_K(bn_at) {
    LK_VF scale, beta, keep;
} LK_K(bn_at);

/* The gradient that passed the activation. d: x - mean. */
LK_INLINE LK_VF LK_K(bn_gradient)(const lk_cpu_bn_grads *t, int64_t at, int64_t bit, LK_VF d, const LK_K(bn_at) * p,
                                  LK_K(bn_way) way) {
    LK_VF grad = LK_LOAD((const LK_E *)t->dy[0] + at);
    if (way.two) grad += LK_LOAD((const LK_E *)t->dy[1] + at);
    if (way.masked) return LK_V(select)(LK_V(unpack_bits)(t->mask[bit]), LK_V(splat)(0), grad);
    if (way.act == LK_ACT_NONE) return grad;
    LK_VF z = LK_K(line)(way.act, d, p->scale, p->beta);
    if (way.keep) z *= p->keep;
    if (way.residual) z += LK_LOAD((const LK_E *)t->residual + at);
    return LK_K(act_gradient)(way.act, z, grad, false);
}

LK_INLINE void LK_K(bn_sums_with)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t,
                                  LK_E *passed, double *sum_out, double *dot_out, LK_K(bn_way) way) {
    LK_VF mean = LK_K(narrow)(p->mean);
    LK_K(bn_at) lanes = {LK_K(narrow)(p->scale), LK_K(narrow)(p->beta), LK_V(splat)(1)};
    LK_VD sum = LK_K(widen)(LK_V(splat)(0)), dot = sum;
    for (int64_t plane = 0; plane < g->planes; plane++) {
        int64_t at = plane * g->plane_stride, bit = plane * g->pixels;
        if (way.keep) lanes.keep = LK_V(splat)(t->keep[plane]);
        for (int64_t first = 0; first < g->pixels; first += LK_CHUNK) {
            int64_t last = first + LK_CHUNK < g->pixels ? first + LK_CHUNK : g->pixels;
            LK_VF s[2] = {LK_V(splat)(0), LK_V(splat)(0)}, q[2] = {LK_V(splat)(0), LK_V(splat)(0)};
            for (int64_t i = first; i < last; i++, at += g->pixel_stride) {
                LK_VF d = LK_LOAD((const LK_E *)t->x + at) - mean;
                LK_VF grad = LK_K(bn_gradient)(t, at, bit + i, d, &lanes, way);
                if (way.store) LK_STORE(passed + at, grad);
                if (way.keep) grad *= lanes.keep;
                s[i & 1] += grad;
                q[i & 1] += grad * d;
            }
            sum += LK_K(widen)(s[0] + s[1]);
            dot += LK_K(widen)(q[0] + q[1]);
        }
    }
    LK_K(store_doubles)(sum_out, sum);
    LK_K(store_doubles)(dot_out, dot);
}

/* Where the first walk leaves the gradient that passed the activation for the second, which nothing is lost by: in
 * dresidual where that is wanted, in dx where the derivative costs more than writing and reading it again. In bfloat16
 * it would be rounded on the way: then nowhere (NULL), unless there is no second walk; nor where there is no first. */
LK_INLINE LK_E *LK_K(bn_passed)(const lk_cpu_bn_grads *t) {
    bool costly = t->act == LK_ACT_SILU || t->act == LK_ACT_SIGMOID, exact = sizeof(LK_E) == sizeof(float);
    if (t->alone) return NULL;
    if (t->dresidual != NULL) return exact || t->dx == NULL ? t->dresidual : NULL;
    return costly && exact ? t->dx : NULL;
}

static void LK_K(bn_backward_sums)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t,
                                   double *sum, double *dot) {
    LK_E *passed = LK_K(bn_passed)(t);
    bool two = t->dy[1] != NULL, store = passed != NULL, keep = t->keep != NULL, residual = t->residual != NULL;
#define WAY(...) LK_K(bn_sums_with)(g, p, t, passed, sum, dot, (LK_K(bn_way)){__VA_ARGS__, false})
#define CALL(a)                                        \
    do {                                               \
        if (!keep && !residual && !store && two)       \
            WAY(a, true, false, false, false, false);  \
        else if (!keep && !residual && !store)         \
            WAY(a, false, false, false, false, false); \
        else if (!keep && !residual && two)            \
            WAY(a, true, false, false, false, true);   \
        else if (!keep && !residual)                   \
            WAY(a, false, false, false, false, true);  \
        else                                           \
            WAY(a, two, false, residual, keep, store); \
    } while (0)
    if (t->mask != NULL && store && two && !keep)
        WAY(LK_ACT_RELU, true, true, false, false, true);
    else if (t->mask != NULL && store && !keep)
        WAY(LK_ACT_RELU, false, true, false, false, true);
    else if (t->mask != NULL)
        WAY(LK_ACT_RELU, two, true, false, keep, store);
    else
        LK_EACH_ACT(t->act, CALL)
#undef CALL
#undef WAY
}

LK_INLINE void LK_K(bn_dx_with)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t,
                                LK_K(bn_way) way) {
    LK_VF mean = LK_K(narrow)(p->mean), slope = LK_K(narrow)(p->slope), offset = LK_K(narrow)(p->offset);
    LK_K(bn_at) lanes = {LK_K(narrow)(p->scale), LK_K(narrow)(p->beta), LK_V(splat)(1)};
    for (int64_t plane = 0; plane < g->planes; plane++) {
        int64_t at = plane * g->plane_stride, bit = plane * g->pixels;
        if (way.keep) lanes.keep = LK_V(splat)(t->keep[plane]);
        for (int64_t i = 0; i < g->pixels; i++, at += g->pixel_stride) {
            LK_VF d = LK_LOAD((const LK_E *)t->x + at) - mean;
            LK_VF grad = LK_K(bn_gradient)(t, at, bit + i, d, &lanes, way);
            if (way.store) LK_STORE((LK_E *)t->dresidual + at, grad);
            if (way.keep) grad *= lanes.keep;
            LK_STORE((LK_E *)t->dx + at, way.fixed ? lanes.scale * grad : lanes.scale * grad + (slope * d + offset));
        }
    }
}

/* dx where the statistics are constants: all that is known of x is what the activation's derivative asks for. */
LK_INLINE void LK_K(bn_dx_fixed)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t) {
    bool two = t->dy[1] != NULL, keep = t->keep != NULL, residual = t->residual != NULL, store = t->dresidual != NULL;
#define CALL(a)                                                                                    \
    do {                                                                                           \
        if (store || keep || residual || two)                                                      \
            LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){a, two, false, residual, keep, store, true}); \
        else                                                                                       \
            LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){a, false, false, false, false, false, true}); \
    } while (0)
    if (t->mask != NULL)
        LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){LK_ACT_RELU, two, true, false, keep, store, true});
    else
        LK_EACH_ACT(t->act, CALL)
#undef CALL
}

/* Finds the gradient that passed again, from all that it came from. */
LK_INLINE void LK_K(bn_dx_again)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t) {
    bool two = t->dy[1] != NULL, keep = t->keep != NULL, residual = t->residual != NULL, store = t->dresidual != NULL;
#define CALL(a)                                                                                     \
    do {                                                                                            \
        if (store || keep || residual)                                                              \
            LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){a, two, false, residual, keep, store, false}); \
        else if (two)                                                                               \
            LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){a, true, false, false, false, false, false});  \
        else                                                                                        \
            LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){a, false, false, false, false, false, false}); \
    } while (0)
    if (t->mask != NULL && two && !keep)
        LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){LK_ACT_RELU, true, true, false, false, true, false});
    else if (t->mask != NULL)
        LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){LK_ACT_RELU, two, true, false, keep, true, false});
    else
        LK_EACH_ACT(t->act, CALL)
#undef CALL
}

static void LK_K(bn_backward_dx)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t) {
    lk_cpu_bn_grads passed = *t;
    LK_E *from = LK_K(bn_passed)(t);
    if (from != NULL) { /* no activation stands before it any more */
        passed = (lk_cpu_bn_grads){.x = t->x, .dy = {from}, .dx = t->dx, .keep = t->keep, .fixed = t->fixed};
        t = &passed;
    }
    if (t->fixed)
        LK_K(bn_dx_fixed)(g, p, t);
    else if (from == NULL)
        LK_K(bn_dx_again)(g, p, t);
    else if (t->keep == NULL)
        LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){LK_ACT_NONE, false, false, false, false, false, false});
    else
        LK_K(bn_dx_with)(g, p, t, (LK_K(bn_way)){LK_ACT_NONE, false, false, false, true, false, false});
}

LK_INLINE void LK_K(add_forward_with)(int64_t count, const LK_E *x, const LK_E *residual, LK_E *y, lk_act act) {
    for (int64_t i = 0; i < count; i += LK_LANES) {
        LK_VF v = LK_LOAD(x + i);
        if (residual != NULL) v += LK_LOAD(residual + i);
        LK_STORE(y + i, LK_K(act)(act, v));
    }
}

static void LK_K(add_forward)(int64_t count, const void *x, const void *residual, void *y, lk_act act){
#define CALL(a) LK_K(add_forward_with)(count, x, residual, y, a)
    LK_EACH_ACT(act, CALL)
#undef CALL
}

LK_INLINE void LK_K(add_backward_with)(int64_t count, const lk_cpu_act_grads *t, lk_act act) {
    for (int64_t i = 0; i < count; i += LK_LANES) {
        LK_VF grad = LK_LOAD((const LK_E *)t->dy[0] + i);
        if (t->dy[1] != NULL) grad += LK_LOAD((const LK_E *)t->dy[1] + i);
        if (act != LK_ACT_NONE) {
            LK_VF v = LK_LOAD((const LK_E *)t->value + i);
            if (t->residual != NULL) v += LK_LOAD((const LK_E *)t->residual + i);
            grad = LK_K(act_gradient)(act, v, grad, lk_cpu_act_from_y(act, sizeof(LK_E)));
        }
        if (t->dx != NULL) LK_STORE((LK_E *)t->dx + i, grad);
        if (t->dresidual != NULL) LK_STORE((LK_E *)t->dresidual + i, grad);
    }
}

static void LK_K(add_backward)(int64_t count, const lk_cpu_act_grads *t, lk_act act) {
#define CALL(a) LK_K(add_backward_with)(count, t, a)
    LK_EACH_ACT(act, CALL)
#undef CALL
}

static void LK_K(scale_forward)(int64_t pixels, int64_t stride, const void *x, const float *gate, void *y) {
    LK_VF g = LK_V(load_f32)(gate);
    for (int64_t i = 0; i < pixels; i++) LK_STORE((LK_E *)y + i * stride, LK_LOAD((const LK_E *)x + i * stride) * g);
}

static void LK_K(scale_backward)(int64_t pixels, int64_t stride, const void *x, const void *dy, const float *gate,
                                 void *dx, double *dgate) {
    LK_VF g = LK_V(load_f32)(gate);
    LK_VD sum = LK_K(widen)(LK_V(splat)(0));
    for (int64_t first = 0; first < pixels; first += LK_CHUNK) {
        int64_t last = first + LK_CHUNK < pixels ? first + LK_CHUNK : pixels;
        LK_VF s[2] = {LK_V(splat)(0), LK_V(splat)(0)};
        for (int64_t i = first; i < last; i++) {
            LK_VF grad = LK_LOAD((const LK_E *)dy + i * stride);
            s[i & 1] += grad * LK_LOAD((const LK_E *)x + i * stride);
            if (dx != NULL) LK_STORE((LK_E *)dx + i * stride, grad * g);
        }
        sum += LK_K(widen)(s[0] + s[1]);
    }
    LK_K(store_doubles)(dgate, sum);
}

/* The part [*first, *last) of a window of `size` at `start` that lies inside [0, limit). */
LK_INLINE void LK_K(clip)(int64_t start, int64_t size, int64_t limit, int64_t *first, int64_t *last) {
    *first = start < 0 ? -start : 0;
    *last = start + size > limit ? limit - start : size;
}

static void LK_K(maxpool_forward)(const lk_cpu_pool *p, const void *x, void *y, uint8_t *index) {
    for (int64_t oy = 0; oy < p->out_h; oy++) {
        int64_t y0 = oy * p->stride - p->pad, ky0, ky1;
        LK_K(clip)(y0, p->kernel, p->h, &ky0, &ky1);
        for (int64_t ox = 0; ox < p->out_w; ox++) {
            int64_t x0 = ox * p->stride - p->pad, kx0, kx1;
            LK_K(clip)(x0, p->kernel, p->w, &kx0, &kx1);
            const LK_E *window = (const LK_E *)x + (y0 * p->w + x0) * p->pixel_stride;
            LK_VF best = LK_LOAD(window + (ky0 * p->w + kx0) * p->pixel_stride);
            LK_VI won = (LK_VI)(best != best) & 0;
            won += (int32_t)(ky0 * p->kernel + kx0);
            for (int64_t ky = ky0; ky < ky1; ky++) {
                for (int64_t kx = kx0; kx < kx1; kx++) {
                    LK_VF v = LK_LOAD(window + (ky * p->w + kx) * p->pixel_stride);
                    LK_VI better = (LK_VI)(v > best) | (LK_VI)(v != v);
                    best = LK_V(select)(better, v, best);
#if LK_LANES == 1
                    if (better) won = (int32_t)(ky * p->kernel + kx);
#else
                    won = (won & ~better) | (better & (int32_t)(ky * p->kernel + kx));
#endif
                }
            }
            int64_t out = oy * p->out_w + ox;
            LK_STORE((LK_E *)y + out * p->pixel_stride, best);
            if (index != NULL) LK_V(store_bytes)(index + out * LK_LANES, won);
        }
    }
}

/* Adds one output's gradient to the element that won. */
LK_INLINE void LK_K(maxpool_scatter)(const lk_cpu_pool *p, int64_t oy, int64_t ox, LK_VF grad, LK_VI won, float *sums,
                                     int64_t stride) {
    int64_t y0 = oy * p->stride - p->pad, x0 = ox * p->stride - p->pad, ky0, ky1, kx0, kx1;
    LK_K(clip)(y0, p->kernel, p->h, &ky0, &ky1);
    LK_K(clip)(x0, p->kernel, p->w, &kx0, &kx1);
    for (int64_t ky = ky0; ky < ky1; ky++) {
        for (int64_t kx = kx0; kx < kx1; kx++) {
            float *to = sums + ((y0 + ky) * p->w + x0 + kx) * stride;
            LK_VF take = LK_V(select)(won == (int32_t)(ky * p->kernel + kx), grad, LK_V(splat)(0));
            LK_V(store_f32)(to, LK_V(load_f32)(to) + take);
        }
    }
}

static void LK_K(maxpool_backward)(const lk_cpu_pool *p, const void *const dy[2], const uint8_t *index, float *sums,
                                   void *dx) {
    bool direct = sizeof(LK_E) == sizeof(float);
    float *to = direct ? (float *)dx : sums;
    int64_t stride = direct ? p->pixel_stride : LK_LANES, pixels = p->h * p->w;
    for (int64_t i = 0; i < pixels; i++) LK_V(store_f32)(to + i * stride, LK_V(splat)(0));
    for (int64_t oy = 0; oy < p->out_h; oy++) {
        for (int64_t ox = 0; ox < p->out_w; ox++) {
            int64_t out = oy * p->out_w + ox;
            LK_VF grad = LK_LOAD((const LK_E *)dy[0] + out * p->pixel_stride);
            if (dy[1] != NULL) grad += LK_LOAD((const LK_E *)dy[1] + out * p->pixel_stride);
            LK_K(maxpool_scatter)(p, oy, ox, grad, LK_V(load_bytes)(index + out * LK_LANES), to, stride);
        }
    }
    if (direct) return;
    for (int64_t i = 0; i < pixels; i++) LK_STORE((LK_E *)dx + i * p->pixel_stride, LK_V(load_f32)(to + i * stride));
}

static void LK_K(avgpool_forward)(int64_t pixels, int64_t pixel_stride, const void *x, float *mean) {
    LK_VF sum = LK_K(chunk_sum)(x, pixels, pixel_stride, LK_V(splat)(0));
    LK_V(store_f32)(mean, sum / LK_V(splat)((float)pixels));
}

static void LK_K(avgpool_backward)(int64_t pixels, int64_t pixel_stride, const float *gradient, void *dx) {
    LK_VF g = LK_V(load_f32)(gradient);
    for (int64_t i = 0; i < pixels; i++) LK_STORE((LK_E *)dx + i * pixel_stride, g);
}

static const lk_cpu_kernels LK_K(kernels) = {
    .lanes = LK_LANES,
    .bn_statistics = LK_K(bn_statistics),
    .bn_forward = LK_K(bn_forward),
    .bn_backward_sums = LK_K(bn_backward_sums),
    .bn_backward_dx = LK_K(bn_backward_dx),
    .add_forward = LK_K(add_forward),
    .add_backward = LK_K(add_backward),
    .scale_forward = LK_K(scale_forward),
    .scale_backward = LK_K(scale_backward),
    .maxpool_forward = LK_K(maxpool_forward),
    .maxpool_backward = LK_K(maxpool_backward),
    .avgpool_forward = LK_K(avgpool_forward),
    .avgpool_backward = LK_K(avgpool_backward),
};

#undef LK_CHUNK
#undef LK_EACH_ACT
#undef LK_K
#undef LK_E
#undef LK_LANES
#undef LK_V
#undef LK_LOAD
#undef LK_STORE
#undef LK_VF
#undef LK_VI
#undef LK_VD
