#include "device/group.h"

#include <stddef.h>

int64_t lk_group_bytes(int64_t leaves, int64_t channels) {
    return ((leaves + 1) * lk_group_numbers(channels) + 2 * channels) * (int64_t)sizeof(double);
}

lk_group_scratch lk_group_place(void *memory, int64_t leaves, int64_t channels) {
    double *at = memory;
    int64_t numbers = lk_group_numbers(channels);
    double *mean = at + (leaves + 1) * numbers;
    return (lk_group_scratch){.count = at,
                              .first = at + 1,
                              .second = at + 1 + channels,
                              .all = at + numbers,
                              .mean = mean,
                              .variance = mean + channels};
}

static lk_status gather(const lk_group_scratch *s, const lk_leaf_group *group, int64_t numbers, int *parts,
                        lk_error *err) {
    if (group == NULL) return lk_fail(err, LK_ERR_INTERNAL, "a leaf that normalises in a group was run without one");
    return group->gather(group->context, s->count, numbers, s->all, parts, err);
}

lk_status lk_group_statistics(lk_group_scratch *s, const lk_leaf_group *group, int64_t channels, lk_error *err) {
    int parts = 0;
    int64_t numbers = lk_group_numbers(channels);
    LK_RETURN_IF(gather(s, group, numbers, &parts, err));
    s->values = 0;
    for (int64_t c = 0; c < channels; c++) s->mean[c] = s->variance[c] = 0;
    for (int part = 0; part < parts; part++) {
        const double *message = s->all + part * numbers, *means = message + 1, *squares = means + channels;
        double more = message[0], total = s->values + more;
        for (int64_t c = 0; c < channels; c++) {
            double distance = means[c] - s->mean[c];
            s->mean[c] += distance * (more / total);
            s->variance[c] += squares[c] + distance * distance * (s->values * more / total);
        }
        s->values = total;
    }
    for (int64_t c = 0; c < channels; c++) s->variance[c] /= s->values;
    return LK_OK;
}

lk_status lk_group_sums(lk_group_scratch *s, const lk_leaf_group *group, int64_t channels, lk_error *err) {
    int parts = 0;
    int64_t numbers = lk_group_numbers(channels);
    LK_RETURN_IF(gather(s, group, numbers, &parts, err));
    s->values = 0;
    for (int64_t c = 0; c < channels; c++) s->mean[c] = s->variance[c] = 0;
    for (int part = 0; part < parts; part++) {
        const double *message = s->all + part * numbers;
        s->values += message[0];
        for (int64_t c = 0; c < channels; c++) {
            s->mean[c] += message[1 + c];
            s->variance[c] += message[1 + channels + c];
        }
    }
    return LK_OK;
}
