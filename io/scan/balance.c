#include <math.h>

#include "core/memory.h"
#include "io/scan/scan_internal.h"

static int64_t images_of(const lk_scan *scan, int k, bool training) {
    const int64_t *counts = scan->classes[k].counts;
    return training ? counts[LK_SPLIT_TRAIN]
                    : counts[LK_SPLIT_TRAIN] + counts[LK_SPLIT_VALIDATION] + counts[LK_SPLIT_TEST];
}

lk_status lk_scan_count_classes(lk_scan *scan, lk_error *err) {
    const lk_scan_source *source = scan->source;
    int64_t labelled[LK_SPLIT_COUNT] = {0}, total = 0;
    double entropy = 0;
    LK_RETURN_IF(LK_NEW(&scan->classes, source->class_count, "the classes of a scan", err));
    for (int64_t i = 0; i < source->count; i++) {
        int32_t label = lk_scan_source_label(source, i);
        lk_split split = lk_scan_source_split(source, i);
        scan->splits[split]++;
        if (label < 0) continue;
        labelled[split]++;
        scan->classes[label].counts[split]++;
    }
    scan->largest = scan->smallest = source->class_count > 0 ? 0 : -1;
    bool training = labelled[LK_SPLIT_TRAIN] > 0;
    for (int k = 0; k < source->class_count; k++) {
        for (int s = 0; s < LK_SPLIT_COUNT; s++)
            scan->classes[k].absent[s] = labelled[s] > 0 && scan->classes[k].counts[s] == 0;
        if (images_of(scan, k, training) > images_of(scan, scan->largest, training)) scan->largest = k;
        if (images_of(scan, k, training) < images_of(scan, scan->smallest, training)) scan->smallest = k;
        total += images_of(scan, k, training);
    }
    for (int k = 0; k < source->class_count && total > 0; k++) {
        double share = (double)images_of(scan, k, training) / (double)total;
        if (share > 0) entropy -= share * log(share);
    }
    scan->effective_classes = total > 0 ? exp(entropy) : 0;
    if (total > 0)
        scan->imbalance =
            (double)images_of(scan, scan->largest, training) / (double)images_of(scan, scan->smallest, training);
    return LK_OK;
}
