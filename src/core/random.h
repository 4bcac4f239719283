/* Counter-based random numbers (Random123's Philox4x32-10): a draw is a function of what it is for.
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef LK_CORE_RANDOM_H
#define LK_CORE_RANDOM_H

#include <stdint.h>

/* What a draw is for. Values are part of a run's bits: append, never renumber. */
typedef enum lk_random_purpose {
    LK_RANDOM_INIT = 1,     /* index: parameter element */
    LK_RANDOM_SHUFFLE = 2,  /* index: position in the epoch */
    LK_RANDOM_AUGMENT = 3,  /* index: position in the epoch's order, sub: which draw of that sample */
    LK_RANDOM_DROPOUT = 4,  /* index: logical element, sub: layer */
    LK_RANDOM_MIX = 5,      /* index: position in the epoch's order of a microbatch's first sample */
    LK_RANDOM_SPLIT = 6,    /* index: sample, when packing */
    LK_RANDOM_GOLDEN = 7,   /* index: which golden image */
    LK_RANDOM_RESAMPLE = 8, /* epoch: resample; index: draw; sub 0: of samples, 1 and 2: of seeds */
    LK_RANDOM_SAMPLE = 9,   /* which samples an epoch draws: io/data/sampler_order.h */
    LK_RANDOM_DECISION = 10 /* index: position in the folds of the decision layer's cross-fit */
} lk_random_purpose;

/* One stream: everything but the index and the sub-draw. */
typedef struct lk_random_key {
    uint64_t seed;
    uint32_t epoch;
    uint32_t purpose; /* lk_random_purpose */
} lk_random_key;

/* The seed with the purpose mixed in: with the epoch, all that a draw elsewhere (on a GPU) needs of the key. Pure. */
uint64_t lk_random_mixed_seed(const lk_random_key *key);

/* Four 32-bit words for (key, index, sub). Pure. */
void lk_random_words(const lk_random_key *key, uint64_t index, uint32_t sub, uint32_t words[4]);

/* Uniform in [0, 1) with 24 bits (float) or 53 bits (double). Pure. */
float lk_random_uniform(const lk_random_key *key, uint64_t index, uint32_t sub);
double lk_random_uniform_double(const lk_random_key *key, uint64_t index, uint32_t sub);

/* Standard normal by Box-Muller, in double. Pure. */
double lk_random_normal(const lk_random_key *key, uint64_t index, uint32_t sub);

/* Beta(a, b) by two gamma variates; a, b > 0, of any size. Takes the sub-draws sub ... sub + LK_RANDOM_BETA_DRAWS - 1.
 * Source: Marsaglia and Tsang 2000, "A simple method for generating gamma variables", in logarithms, so that small a
 * and b do not underflow. Pure. */
#define LK_RANDOM_BETA_DRAWS 258
double lk_random_beta(const lk_random_key *key, uint64_t index, uint32_t sub, double a, double b);

/* Uniform integer in [0, bound), without modulo bias beyond 2^-32 (128-bit multiply). bound > 0. Pure. */
uint64_t lk_random_below(const lk_random_key *key, uint64_t index, uint32_t sub, uint64_t bound);

/* Fills order[0..n) with a permutation of 0..n-1 (Fisher-Yates over lk_random_below). Pure. */
void lk_random_permutation(const lk_random_key *key, int64_t n, int64_t *order);

#endif
