#include "core/memory.h"
#include "io/data/divide.h"
#include "io/data/pack_items.h"

enum { SPLITS = 3 }; /* train, validation, test */

static lk_status set_parts(double parts[SPLITS], const lk_pack_options *options, int64_t count, lk_error *err) {
    double sum = 0;
    for (int s = 0; s < SPLITS; s++) parts[s] = s < options->fraction_count ? options->fractions[s] : 0;
    if (options->fraction_count == 0) {
        double part = options->validation < 1 ? options->validation : options->validation / (double)count;
        if (!(part < 1))
            return lk_fail(err, LK_ERR_CONFIG,
                           "the validation part of %.0f would take all %lld training samples: ask for fewer",
                           options->validation, (long long)count);
        parts[LK_SPLIT_VALIDATION] = part;
        parts[LK_SPLIT_TRAIN] = 1 - part;
    }
    for (int s = 0; s < SPLITS; s++) {
        if (!(parts[s] >= 0))
            return lk_fail(err, LK_ERR_CONFIG, "a part of the split is negative: give three parts that sum to 1");
        sum += parts[s];
    }
    if (!(sum > 0.999 && sum < 1.001))
        return lk_fail(err, LK_ERR_CONFIG, "the parts of the split sum to %g: give parts that sum to 1, as 0.8,0.1,0.1",
                       sum);
    return LK_OK;
}

lk_status lk_pack_items_split(lk_pack_items *items, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    lk_divide_sample *samples = NULL;
    int64_t count = 0;
    double parts[SPLITS];
    if (options->fraction_count == 0 && options->validation <= 0) return LK_OK;
    LK_TRY(LK_NEW(&samples, items->count, "the split", err));
    for (int64_t i = 0; i < items->count; i++) {
        const lk_pack_item *item = &items->items[i];
        bool divided = options->fraction_count > 0 || item->split == LK_SPLIT_TRAIN;
        if (item->label < 0 || item->split == LK_SPLIT_PREDICT || !divided) continue;
        samples[count++] = (lk_divide_sample){.id = i, .label = item->label, .group = item->group};
    }
    if (count == 0) LK_TRY(lk_fail(err, LK_ERR_CONFIG, "there is no labelled training sample to divide into splits"));
    LK_TRY(set_parts(parts, options, count, err));
    /* Nothing could be learned about a class that rounding left without a training sample. */
    const lk_divide_spec spec = {.classes = items->classes.count,
                                 .parts = parts,
                                 .part_count = SPLITS,
                                 .seed = options->seed,
                                 .keep_first = true};
    LK_TRY(lk_divide(samples, count, &spec, err));
    for (int64_t i = 0; i < count; i++) items->items[samples[i].id].split = (lk_split)samples[i].part;
out:
    lk_free(samples);
    return status;
}
