/* Steps of a scan; scan.c puts them in order. */
#ifndef LK_IO_SCAN_SCAN_INTERNAL_H
#define LK_IO_SCAN_SCAN_INTERNAL_H

#include "core/pool.h"
#include "io/scan/scan.h"

enum lk_scan_list { LIST_UNREADABLE, LIST_MEMBERS, LIST_GROUPS, LIST_BLANK, LIST_GREY, LIST_SIZES, LIST_ASPECTS };

/* duplicates.c: fills groups and members. tools: one for each thread of the pool. */
LK_MUST_CHECK lk_status lk_scan_find_duplicates(lk_scan *scan, const uint8_t *thumbnails, double similarity,
                                                lk_pool *pool, lk_fingerprint_tools *tools, lk_error *err);
/* oddities.c: fills blank, grey, sizes and aspects. */
LK_MUST_CHECK lk_status lk_scan_find_oddities(lk_scan *scan, lk_error *err);
/* balance.c: fills classes and what follows from them. */
LK_MUST_CHECK lk_status lk_scan_count_classes(lk_scan *scan, lk_error *err);

#endif
