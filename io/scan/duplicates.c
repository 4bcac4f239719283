#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/scan/scan_internal.h"
#include "io/scan/similar.h"

/* What two images are equal by, in an order that puts equals beside each other. */
typedef struct key {
    uint64_t hash[2];
    int64_t size; /* of the bytes, or width and height */
    int32_t image;
} key;

typedef struct search {
    lk_scan *scan;
    const uint8_t *thumbnails;
    lk_fingerprint_tools *tools;
    lk_sets sets;
    key *keys;
    int32_t *same_bytes, *same_pixels; /* the first image that this one equals; itself where there is none */
    int32_t *members;                  /* in its set, at the place of the set's first image */
    bool *hashed;                      /* keys[i] is filled */
} search;

static int compare_keys(const void *a, const void *b) {
    const key *x = a, *y = b;
    if (x->hash[0] != y->hash[0]) return x->hash[0] < y->hash[0] ? -1 : 1;
    if (x->hash[1] != y->hash[1]) return x->hash[1] < y->hash[1] ? -1 : 1;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static bool equal_keys(const key *a, const key *b) {
    return a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1] && a->size == b->size;
}

/* Sorts the keys; joins equal images and notes in `same` the first of them. */
static void join_equals(search *s, int32_t count, int32_t *same) {
    qsort(s->keys, (size_t)count, sizeof *s->keys, compare_keys);
    for (int32_t i = 1, first = 0; i < count; i++) {
        if (!equal_keys(&s->keys[first], &s->keys[i])) {
            first = i;
            continue;
        }
        same[s->keys[i].image] = s->keys[first].image;
        lk_sets_join(&s->sets, s->keys[first].image, s->keys[i].image);
    }
}

static void join_same_bytes(search *s) {
    int32_t count = 0;
    for (int32_t i = 0; i < s->sets.count; i++) {
        const lk_fingerprint *f = &s->scan->prints[i];
        if (f->readable) s->keys[count++] = (key){{f->bytes[0], f->bytes[1]}, f->length, i};
    }
    join_equals(s, count, s->same_bytes);
}

static void count_members(search *s) {
    memset(s->members, 0, (size_t)s->sets.count * sizeof *s->members);
    for (int32_t i = 0; i < s->sets.count; i++) s->members[lk_sets_find(&s->sets, i)]++;
}

static void hash_pixels(void *context, int index, int worker) {
    search *s = context;
    key *k = &s->keys[index];
    const lk_fingerprint *f = &s->scan->prints[k->image];
    lk_error ignored = {0}; /* an image that has gone since it was read has no equal */
    k->size = (int64_t)f->width << 32 | f->height;
    s->hashed[index] = lk_fingerprint_pixels(k->hash, s->scan->source, k->image, &s->tools[worker], &ignored) == LK_OK;
}

/* Equal pixels mean equal thumbnails up to the decoder's scaling, so that only images that resemble another one, and
 * blank ones, need to be decoded in full. One of those with equal bytes stands for the others. */
static void join_same_pixels(search *s, lk_pool *pool) {
    int32_t count = 0, kept = 0;
    count_members(s);
    for (int32_t i = 0; i < s->sets.count; i++) {
        const lk_fingerprint *f = &s->scan->prints[i];
        if (!f->readable || s->same_bytes[i] != i) continue;
        if (s->members[lk_sets_find(&s->sets, i)] > 1 || lk_fingerprint_is_blank(f)) s->keys[count++].image = i;
    }
    lk_pool_run(pool, hash_pixels, s, count);
    for (int32_t i = 0; i < count; i++)
        if (s->hashed[i]) s->keys[kept++] = s->keys[i];
    join_equals(s, kept, s->same_pixels);
}

static lk_scan_match match_of(const search *s, int32_t image, int32_t first) {
    if (image == first) return LK_MATCH_FIRST;
    if (s->same_bytes[image] != image) return LK_MATCH_BYTES;
    return s->same_pixels[image] != image ? LK_MATCH_PIXELS : LK_MATCH_NEAR;
}

static lk_scan_member make_member(const search *s, int32_t image, int32_t first) {
    const uint8_t *a = s->thumbnails + (size_t)first * LK_SCAN_PIXELS;
    const uint8_t *b = s->thumbnails + (size_t)image * LK_SCAN_PIXELS;
    bool equal = memcmp(a, b, LK_SCAN_PIXELS) == 0; /* of blank ones too, which have no correlation */
    return (lk_scan_member){image, match_of(s, image, first), equal ? 1.0 : lk_similar_correlation(a, b)};
}

/* Says of a group what its members say together. */
static void judge_group(const lk_scan *scan, lk_scan_group *group) {
    int32_t label = -1;
    unsigned splits = 0;
    for (int32_t m = group->first; m < group->first + group->count; m++) {
        const lk_scan_member *member = &scan->members[m];
        int32_t own = lk_scan_source_label(scan->source, member->image);
        lk_split split = lk_scan_source_split(scan->source, member->image);
        if (member->match > group->match) group->match = member->match;
        if (split != LK_SPLIT_PREDICT) splits |= 1u << split;
        if (own >= 0 && label >= 0 && own != label) group->labels_differ = true;
        if (own >= 0) label = own;
    }
    group->across_splits = (splits & (splits - 1)) != 0;
}

/* Groups by their first image, members by rising number: counting sort by set. */
static lk_status list_groups(search *s, lk_error *err) {
    lk_scan *scan = s->scan;
    count_members(s);
    for (int32_t i = 0; i < s->sets.count; i++) {
        if (s->members[i] < 2) continue;
        LK_RETURN_IF(lk_grow((void **)&scan->groups, &scan->capacity[LIST_GROUPS], scan->group_count + 1,
                             sizeof *scan->groups, "the groups of a scan", err));
        scan->groups[scan->group_count++] = (lk_scan_group){.first = (int32_t)scan->member_count};
        scan->member_count += (size_t)s->members[i];
        s->members[i] = -(int32_t)scan->group_count; /* where its group is */
    }
    LK_RETURN_IF(LK_NEW(&scan->members, scan->member_count, "the groups of a scan", err));
    for (int32_t i = 0; i < s->sets.count; i++) {
        int32_t first = lk_sets_find(&s->sets, i);
        if (s->members[first] >= 0) continue;
        lk_scan_group *group = &scan->groups[-s->members[first] - 1];
        scan->members[group->first + group->count++] = make_member(s, i, first);
    }
    for (size_t g = 0; g < scan->group_count; g++) judge_group(scan, &scan->groups[g]);
    return LK_OK;
}

lk_status lk_scan_find_duplicates(lk_scan *scan, const uint8_t *thumbnails, double similarity, lk_pool *pool,
                                  lk_fingerprint_tools *tools, lk_error *err) {
    lk_status status = LK_OK;
    int32_t count = (int32_t)scan->source->count;
    lk_similar_counts counts;
    search s = {.scan = scan, .thumbnails = thumbnails, .tools = tools};
    LK_TRY(lk_sets_create(&s.sets, count, err));
    LK_TRY(LK_NEW(&s.keys, count, "the duplicates of a scan", err));
    LK_TRY(LK_NEW(&s.same_bytes, count, "the duplicates of a scan", err));
    LK_TRY(LK_NEW(&s.same_pixels, count, "the duplicates of a scan", err));
    LK_TRY(LK_NEW(&s.members, count, "the duplicates of a scan", err));
    LK_TRY(LK_NEW(&s.hashed, count, "the duplicates of a scan", err));
    for (int32_t i = 0; i < count; i++) s.same_bytes[i] = s.same_pixels[i] = i;
    join_same_bytes(&s);
    LK_TRY(lk_similar_join(&s.sets, scan->prints, thumbnails, count, similarity, pool, &counts, err));
    scan->compared = counts.compared;
    scan->correlated = counts.correlated;
    join_same_pixels(&s, pool);
    LK_TRY(list_groups(&s, err));
out:
    lk_free(s.keys);
    lk_free(s.same_bytes);
    lk_free(s.same_pixels);
    lk_free(s.members);
    lk_free(s.hashed);
    lk_sets_free(&s.sets);
    return status;
}
