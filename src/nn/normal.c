#include "nn/normal.h"

#include <math.h>
#include <stdbool.h>

#define EDGE 3.442619855899            /* where the tail begins, for 128 layers */
#define AREA 9.91256303526217e-3       /* of each layer, the one with the tail included */
#define RETRY_UNIT (UINT64_C(1) << 40) /* retry k of element i draws at i + k * RETRY_UNIT, k >= 1 */

static double density(double x) { return exp(-0.5 * x * x); }

void lk_ziggurat_create(lk_ziggurat *z) {
    z->x[0] = AREA / density(EDGE);
    z->x[1] = EDGE;
    z->x[LK_ZIGGURAT_LAYERS] = 0;
    for (int i = 2; i < LK_ZIGGURAT_LAYERS; i++) z->x[i] = sqrt(-2 * log(AREA / z->x[i - 1] + density(z->x[i - 1])));
    for (int i = 0; i < LK_ZIGGURAT_LAYERS; i++) z->ratio[i] = z->x[i + 1] / z->x[i];
}

/* One element's stream: what it draws after the first 64 bits. */
typedef struct element {
    const lk_random_key *key;
    uint32_t sub;
    uint64_t index, retry;
} element;

/* In (0, 1): a logarithm of it is finite. */
static double open_uniform(uint64_t bits) { return ((double)(bits >> 12) + 0.5) * 0x1p-52; }

static void next_pair(element *e, uint64_t pair[2]) {
    uint32_t w[4];
    lk_random_words(e->key, e->index + ++e->retry * RETRY_UNIT, e->sub, w);
    pair[0] = (uint64_t)w[0] << 32 | w[1];
    pair[1] = (uint64_t)w[2] << 32 | w[3];
}

/* A number beyond EDGE. Source: Marsaglia 1964, "Generating a variable from the tail of the normal distribution". */
static double tail(element *e) {
    for (;;) {
        uint64_t pair[2];
        next_pair(e, pair);
        double x = -log(open_uniform(pair[0])) / EDGE, y = -log(open_uniform(pair[1]));
        if (2 * y >= x * x) return EDGE + x;
    }
}

/* Is x, in the part of layer i that the curve cuts, under the curve? */
static bool under_curve(const lk_ziggurat *z, int i, double x, double uniform) {
    double outer = exp(-0.5 * (z->x[i] * z->x[i] - x * x)), inner = exp(-0.5 * (z->x[i + 1] * z->x[i + 1] - x * x));
    return inner + uniform * (outer - inner) < 1;
}

/* bits: the element's first draw. Its upper 53 bits are a number in [-1, 1), its lower ones choose the layer. */
static double normal(const lk_ziggurat *z, uint64_t bits, element *e) {
    for (;;) {
        double u = (double)(int64_t)(bits >> 11) * 0x1p-52 - 1;
        int layer = (int)(bits % LK_ZIGGURAT_LAYERS);
        if (fabs(u) < z->ratio[layer]) return u * z->x[layer];
        if (layer == 0) return u < 0 ? -tail(e) : tail(e);
        uint64_t pair[2];
        next_pair(e, pair);
        if (under_curve(z, layer, u * z->x[layer], open_uniform(pair[0]))) return u * z->x[layer];
        bits = pair[1];
    }
}

void lk_ziggurat_fill(const lk_ziggurat *z, const lk_random_key *key, uint32_t sub, double std, int64_t first,
                      int64_t count, double *values) {
    for (int64_t i = 0; i < count; i += 2) {
        uint32_t w[4];
        lk_random_words(key, (uint64_t)(first + i) / 2, sub, w);
        for (int k = 0; k < 2 && i + k < count; k++) {
            element e = {.key = key, .sub = sub, .index = (uint64_t)(first + i + k)};
            values[i + k] = std * normal(z, (uint64_t)w[2 * k] << 32 | w[2 * k + 1], &e);
        }
    }
}
