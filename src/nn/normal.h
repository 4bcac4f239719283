/* Many standard normal numbers, quickly: a function of the key, the sub-draw and the place in the list alone.
 * Source: Marsaglia and Tsang 2000, "The ziggurat method for generating random variables"; Doornik 2005, "An improved
 * ziggurat method to generate normal random samples". */
#ifndef LK_NN_NORMAL_H
#define LK_NN_NORMAL_H

#include "core/random.h"

#define LK_ZIGGURAT_LAYERS 128

/* Edges of the layers of equal area under exp(-x^2 / 2), from the outermost inwards. */
typedef struct lk_ziggurat {
    double x[LK_ZIGGURAT_LAYERS + 1];
    double ratio[LK_ZIGGURAT_LAYERS]; /* x[i + 1] / x[i]: below it a point lies under the curve for certain */
} lk_ziggurat;

void lk_ziggurat_create(lk_ziggurat *z);

/* values[i] = std * (normal number first + i of the stream), in double. first: even; first + count < 2^40. */
void lk_ziggurat_fill(const lk_ziggurat *z, const lk_random_key *key, uint32_t sub, double std, int64_t first,
                      int64_t count, double *values);

#endif
