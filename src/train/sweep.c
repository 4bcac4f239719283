#include "train/sweep.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "train/sweep_internal.h"

enum { MAX_NAME = 100 };

/* Takes the seeds of `seeds: [1, 2]`. */
static lk_status take_seeds(lk_sweep *sweep, lk_sweep_reader *r, const yaml_node_t *node) {
    if (node->type != YAML_SEQUENCE_NODE || node->data.sequence.items.top == node->data.sequence.items.start)
        return lk_sweep_fail(r, node, "'seeds' must be a list of at least one number, as in seeds: [1, 2, 3]");
    int count = (int)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > LK_SWEEP_MAX_RUNS) return lk_sweep_fail(r, node, "more than %d seeds", LK_SWEEP_MAX_RUNS);
    LK_RETURN_IF(LK_NEW(&sweep->seeds, count, "seeds", r->err));
    for (int i = 0; i < count; i++) {
        const yaml_node_t *item;
        const char *text;
        LK_RETURN_IF(lk_sweep_node(r, node->data.sequence.items.start[i], &item));
        LK_RETURN_IF(lk_sweep_text(r, item, "a seed", &text));
        LK_RETURN_IF(lk_sweep_check_value(r, item, "seed", text));
        sweep->seeds[i] = strtoll(text, NULL, 10);
        for (int k = 0; k < i; k++)
            if (sweep->seeds[k] == sweep->seeds[i]) return lk_sweep_fail(r, item, "the seed %s is given twice", text);
        sweep->seed_count++;
    }
    return LK_OK;
}

static bool is_file_name(const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length > MAX_NAME || name[0] == '.' || name[0] == '-') return false;
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && strchr("._-+", *at) == NULL) return false;
    return true;
}

/* One of `variants`. set: the changes of all. */
static lk_status take_variant(lk_sweep *sweep, lk_sweep_reader *r, const char *base, const lk_sweep_variant *set,
                              const yaml_node_t *key, const yaml_node_t *value) {
    const char *name;
    lk_sweep_variant *variant = &sweep->variants[sweep->variant_count];
    LK_RETURN_IF(lk_sweep_text(r, key, "the name of a variant", &name));
    if (!is_file_name(name))
        return lk_sweep_fail(
            r, key,
            "'%.40s' cannot name a variant, since a folder is called after it: use at most %d letters, "
            "digits, '.', '_', '-' and '+', and begin with none of '.' and '-'",
            name, MAX_NAME);
    for (int i = 0; i < sweep->variant_count; i++)
        if (strcmp(sweep->variants[i].name, name) == 0)
            return lk_sweep_fail(r, key, "two variants are called '%s'", name);
    sweep->variant_count++;
    LK_RETURN_IF(lk_strdup(&variant->name, name, r->err));
    if (lk_sweep_is_null(value)) value = NULL; /* "plain:" changes nothing */
    const char *own = NULL;
    LK_RETURN_IF(LK_NEW(&variant->overrides, set->override_count, "the changes", r->err));
    for (; variant->override_count < set->override_count; variant->override_count++)
        LK_RETURN_IF(
            lk_strdup(&variant->overrides[variant->override_count], set->overrides[variant->override_count], r->err));
    LK_RETURN_IF(lk_sweep_changes(r, variant, value, &own));
    if (own == NULL && base == NULL)
        return lk_sweep_fail(r, key, "variant '%s' has no job file: give 'base', here or for all variants", name);
    return lk_job_resolve(&variant->job, r->where, own != NULL ? own : base, r->err);
}

static lk_status take_variants(lk_sweep *sweep, lk_sweep_reader *r, const char *base, const lk_sweep_variant *set,
                               const yaml_node_t *node) {
    if (node->type != YAML_MAPPING_NODE || node->data.mapping.pairs.top == node->data.mapping.pairs.start)
        return lk_sweep_fail(r, node,
                             "'variants' must name at least one variant and its keys, as in variants: {plain: {}}");
    int64_t count = node->data.mapping.pairs.top - node->data.mapping.pairs.start;
    if (count * sweep->seed_count > LK_SWEEP_MAX_RUNS)
        return lk_sweep_fail(r, node, "%lld variants with %d seeds are more than the %d runs that can be compared",
                             (long long)count, sweep->seed_count, LK_SWEEP_MAX_RUNS);
    LK_RETURN_IF(LK_NEW(&sweep->variants, count, "variants", r->err));
    for (int64_t i = 0; i < count; i++) {
        const yaml_node_t *key, *value;
        LK_RETURN_IF(lk_sweep_node(r, node->data.mapping.pairs.start[i].key, &key));
        LK_RETURN_IF(lk_sweep_node(r, node->data.mapping.pairs.start[i].value, &value));
        LK_RETURN_IF(take_variant(sweep, r, base, set, key, value));
    }
    return LK_OK;
}

enum { BASE, SET, SEEDS, VARIANTS, TOP_KEYS };
static const char *const top_keys[TOP_KEYS] = {"base", "set", "seeds", "variants"};

/* The values of the four keys, NULL for those not given. */
static lk_status find_top(lk_sweep_reader *r, const yaml_node_t *root, const yaml_node_t *found[TOP_KEYS]) {
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key;
        const char *name;
        int at = 0;
        LK_RETURN_IF(lk_sweep_node(r, pair->key, &key));
        LK_RETURN_IF(lk_sweep_text(r, key, "a key", &name));
        while (at < TOP_KEYS && strcmp(top_keys[at], name) != 0) at++;
        if (at == TOP_KEYS)
            return lk_sweep_fail(
                r, key,
                "unknown key '%.40s': a sweep has base, set, seeds and variants; keys of the job belong "
                "into set or into a variant",
                name);
        if (found[at] != NULL) return lk_sweep_fail(r, key, "'%s' is given twice", name);
        LK_RETURN_IF(lk_sweep_node(r, pair->value, &found[at]));
    }
    return LK_OK;
}

static void free_variant(lk_sweep_variant *variant) {
    for (int k = 0; k < variant->override_count; k++) lk_free(variant->overrides[k]);
    lk_free(variant->overrides);
    lk_free(variant->name);
    lk_free(variant->job);
}

static lk_status take_document(lk_sweep *sweep, lk_sweep_reader *r) {
    lk_status status = LK_OK;
    lk_sweep_variant set = {0};
    const yaml_node_t *root = yaml_document_get_root_node(&r->document), *found[TOP_KEYS] = {NULL};
    const char *base = NULL;
    if (root == NULL || root->type != YAML_MAPPING_NODE)
        return lk_fail(r->err, LK_ERR_CONFIG, "%s is no sweep: it must have the keys base, seeds and variants",
                       r->where);
    LK_RETURN_IF(find_top(r, root, found));
    for (int at = SEEDS; at <= VARIANTS; at++)
        if (found[at] == NULL)
            return lk_fail(r->err, LK_ERR_CONFIG, "%s: the key '%s' is missing", r->where, top_keys[at]);
    if (found[BASE] != NULL) LK_RETURN_IF(lk_sweep_base(r, found[BASE], &base));
    LK_RETURN_IF(take_seeds(sweep, r, found[SEEDS]));
    LK_TRY(lk_sweep_changes(r, &set, found[SET], NULL));
    LK_TRY(take_variants(sweep, r, base, &set, found[VARIANTS]));
out:
    free_variant(&set);
    return status;
}

lk_status lk_sweep_parse(lk_sweep *out, const char *text, size_t size, const char *where, lk_error *err) {
    lk_status status;
    lk_sweep_reader r = {.where = where, .err = err};
    memset(out, 0, sizeof *out);
    LK_TRY(lk_sweep_open(&r, text, size));
    LK_TRY(take_document(out, &r));
out:
    lk_sweep_close(&r);
    if (status != LK_OK) lk_sweep_free(out);
    return status;
}

void lk_sweep_free(lk_sweep *sweep) {
    for (int i = 0; i < sweep->variant_count; i++) free_variant(&sweep->variants[i]);
    lk_free(sweep->variants);
    lk_free(sweep->seeds);
    memset(sweep, 0, sizeof *sweep);
}
