#include "core/random.h"
#include "device/ops.h"

bool lk_run_drops(const lk_run *run, uint32_t layer, int64_t row, int64_t elements, int64_t element, double rate) {
    lk_random_key key = {.seed = run->seed, .epoch = run->epoch, .purpose = LK_RANDOM_DROPOUT};
    uint64_t index = (uint64_t)(run->first_position + row) * (uint64_t)elements + (uint64_t)element;
    return (double)lk_random_uniform(&key, index, layer) < rate;
}
