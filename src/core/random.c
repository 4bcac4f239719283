#include "core/random.h"

#include <math.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <Random123/philox.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* By an odd multiplier: distinct purposes give distinct keys. */
uint64_t lk_random_mixed_seed(const lk_random_key *key) {
    return key->seed ^ (uint64_t)key->purpose * UINT64_C(0x9E3779B97F4A7C15);
}

void lk_random_words(const lk_random_key *key, uint64_t index, uint32_t sub, uint32_t words[4]) {
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), sub, key->epoch}};
    uint64_t seed = lk_random_mixed_seed(key);
    philox4x32_key_t k = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t r = philox4x32(counter, k);
    for (int i = 0; i < 4; i++) words[i] = r.v[i];
}

float lk_random_uniform(const lk_random_key *key, uint64_t index, uint32_t sub) {
    uint32_t w[4];
    lk_random_words(key, index, sub, w);
    return (float)(w[0] >> 8) * 0x1p-24f;
}

static double uniform53(uint32_t high, uint32_t low) {
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return (double)bits * 0x1p-53;
}

double lk_random_uniform_double(const lk_random_key *key, uint64_t index, uint32_t sub) {
    uint32_t w[4];
    lk_random_words(key, index, sub, w);
    return uniform53(w[0], w[1]);
}

double lk_random_normal(const lk_random_key *key, uint64_t index, uint32_t sub) {
    uint32_t w[4];
    lk_random_words(key, index, sub, w);
    double radius = sqrt(-2.0 * log(1.0 - uniform53(w[0], w[1])));
    return radius * cos(6.283185307179586476925286766559 * uniform53(w[2], w[3]));
}

/* Logarithm of a Gamma(shape, 1) variate. sub: of the draws of try 0, 4 apart; boost: of the draw that small shapes
 * need. */
static double log_gamma_variate(const lk_random_key *key, uint64_t index, uint32_t sub, uint32_t boost, double shape) {
    enum { TRIES = 64 }; /* 95 of 100 are accepted: none fails this often */
    double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d), v = 1;
    for (uint32_t t = 0; t < TRIES; t++) {
        double x = lk_random_normal(key, index, sub + 4 * t), root = 1 + c * x;
        double u = 1 - lk_random_uniform_double(key, index, sub + 4 * t + 1);
        v = root * root * root;
        if (root > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) break;
    }
    double log_boost = shape < 1 ? log(1 - lk_random_uniform_double(key, index, boost)) / shape : 0;
    return log(d * v) + log_boost;
}

double lk_random_beta(const lk_random_key *key, uint64_t index, uint32_t sub, double a, double b) {
    double log_a = log_gamma_variate(key, index, sub + 2, sub, a);
    double log_b = log_gamma_variate(key, index, sub + 4, sub + 1, b);
    return 1 / (1 + exp(log_b - log_a));
}

uint64_t lk_random_below(const lk_random_key *key, uint64_t index, uint32_t sub, uint64_t bound) {
    uint32_t w[4];
    lk_random_words(key, index, sub, w);
    __extension__ typedef unsigned __int128 uint128;
    uint64_t bits = (uint64_t)w[0] << 32 | w[1];
    return (uint64_t)((uint128)bits * bound >> 64);
}

void lk_random_permutation(const lk_random_key *key, int64_t n, int64_t *order) {
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)lk_random_below(key, (uint64_t)i, 0, (uint64_t)i + 1);
        int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
