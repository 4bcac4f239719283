#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/sweep_internal.h"

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 8 };

lk_status lk_sweep_fail(lk_sweep_reader *r, const yaml_node_t *node, const char *format, ...) {
    char text[LK_ERROR_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at)) *at = '?';
    return lk_fail(r->err, LK_ERR_CONFIG, "%s line %zu: %s", r->where, node->start_mark.line + 1, text);
}

static lk_status load(lk_sweep_reader *r, yaml_parser_t *parser) {
    if (!yaml_parser_load(parser, &r->document)) {
        if (parser->error == YAML_MEMORY_ERROR)
            return lk_fail(r->err, LK_ERR_MEMORY, "cannot read %s: out of memory", r->where);
        return lk_fail(r->err, LK_ERR_CONFIG, "%s line %zu: not valid YAML: %s", r->where,
                       (parser->error == YAML_READER_ERROR ? parser->mark.line : parser->problem_mark.line) + 1,
                       parser->problem == NULL ? "unreadable" : parser->problem);
    }
    r->has_document = true;
    LK_RETURN_IF(LK_NEW(&r->met, r->document.nodes.top - r->document.nodes.start + 1, "a sweep", r->err));
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second))
        return lk_fail(r->err, LK_ERR_CONFIG, "%s: not valid YAML behind its first document", r->where);
    bool more = yaml_document_get_root_node(&second) != NULL;
    yaml_document_delete(&second);
    if (more) return lk_fail(r->err, LK_ERR_CONFIG, "%s: a second document ('---') is not allowed", r->where);
    return LK_OK;
}

lk_status lk_sweep_open(lk_sweep_reader *r, const char *text, size_t size) {
    int count;
    yaml_parser_t parser;
    const lk_option *table = lk_job_options(&count);
    if (size > MAX_BYTES)
        return lk_fail(r->err, LK_ERR_CONFIG, "%s is larger than %d bytes: it is hardly a sweep", r->where, MAX_BYTES);
    r->has_probe = true;
    LK_RETURN_IF(lk_options_defaults(table, count, &r->probe, r->err));
    if (!yaml_parser_initialize(&parser))
        return lk_fail(r->err, LK_ERR_MEMORY, "cannot read %s: out of memory", r->where);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    lk_status status = load(r, &parser);
    yaml_parser_delete(&parser);
    return status;
}

void lk_sweep_close(lk_sweep_reader *r) {
    if (r->has_document) yaml_document_delete(&r->document);
    if (r->has_probe) lk_job_free(&r->probe);
    lk_free(r->met);
}

lk_status lk_sweep_node(lk_sweep_reader *r, int index, const yaml_node_t **out) {
    const yaml_node_t *node = *out = yaml_document_get_node(&r->document, index);
    if (r->met[index]) return lk_sweep_fail(r, node, "aliases (*name) are not allowed");
    r->met[index] = true;
    const char *tag = (const char *)node->tag, *plain[] = {YAML_STR_TAG, YAML_SEQ_TAG, YAML_MAP_TAG};
    for (size_t i = 0; tag != NULL && i < sizeof plain / sizeof *plain; i++)
        if (strcmp(tag, plain[i]) == 0) return LK_OK;
    return tag == NULL ? LK_OK : lk_sweep_fail(r, node, "tags (!name) are not allowed");
}

lk_status lk_sweep_text(lk_sweep_reader *r, const yaml_node_t *node, const char *what, const char **out) {
    *out = "";
    if (node->type != YAML_SCALAR_NODE) return lk_sweep_fail(r, node, "%s must be a word or number", what);
    const char *text = *out = (const char *)node->data.scalar.value;
    if (strlen(text) != node->data.scalar.length) return lk_sweep_fail(r, node, "a NUL character in the text");
    return LK_OK;
}

bool lk_sweep_is_null(const yaml_node_t *node) {
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    const char *text = (const char *)node->data.scalar.value;
    return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

lk_status lk_sweep_base(lk_sweep_reader *r, const yaml_node_t *node, const char **out) {
    LK_RETURN_IF(lk_sweep_text(r, node, "'base'", out));
    return **out == '\0' ? lk_sweep_fail(r, node, "'base' must name a job file") : LK_OK;
}

lk_status lk_sweep_check_value(lk_sweep_reader *r, const yaml_node_t *node, const char *key, const char *value) {
    int count;
    char where[320];
    const lk_option *table = lk_job_options(&count);
    snprintf(where, sizeof where, "%.280s line %zu", r->where, node->start_mark.line + 1);
    return lk_options_set(table, count, &r->probe, key, value, where, r->err);
}

/* "[0.25, 1]" as "0.25, 1". Owner: the caller, with lk_free. */
static lk_status join(char **out, lk_sweep_reader *r, const yaml_node_t *node, const char *key) {
    LK_RETURN_IF(lk_strdup(out, "", r->err));
    for (const int *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        const yaml_node_t *value;
        const char *text;
        char *longer;
        LK_RETURN_IF(lk_sweep_node(r, *item, &value));
        LK_RETURN_IF(lk_sweep_text(r, value, "an item of a list", &text));
        if (*text == '\0' || strchr(text, ',') != NULL || strlen(*out) + strlen(text) + 3 > LK_OPTION_TEXT_SIZE)
            return lk_sweep_fail(r, value, "'%s' must be a list of numbers", key);
        LK_RETURN_IF(lk_format(&longer, r->err, "%s%s%s", *out, **out == '\0' ? "" : ", ", text));
        lk_free(*out);
        *out = longer;
    }
    return LK_OK;
}

/* own: the first override of the section that is being read; a key may come once in it. */
static lk_status append(lk_sweep_reader *r, lk_sweep_variant *variant, int own, const yaml_node_t *node,
                        const char *key, const char *value) {
    size_t capacity = (size_t)variant->override_count, length = strlen(key);
    if (strcmp(key, "seed") == 0) return lk_sweep_fail(r, node, "'seed' is set by the sweep: list it under 'seeds'");
    LK_RETURN_IF(lk_sweep_check_value(r, node, key, value));
    for (int i = own; i < variant->override_count; i++)
        if (strncmp(variant->overrides[i], key, length) == 0 && variant->overrides[i][length] == '=')
            return lk_sweep_fail(r, node, "'%s' is given twice", key);
    LK_RETURN_IF(lk_grow((void **)&variant->overrides, &capacity, capacity + 1, sizeof(char *), "the changes", r->err));
    LK_RETURN_IF(lk_format(&variant->overrides[variant->override_count], r->err, "%s=%s", key, value));
    variant->override_count++;
    return LK_OK;
}

static lk_status take_value(lk_sweep_reader *r, lk_sweep_variant *variant, int own, const yaml_node_t *node,
                            const char *key) {
    lk_status status;
    char *list = NULL;
    const char *text = "";
    if (node->type == YAML_SEQUENCE_NODE)
        LK_TRY(join(&list, r, node, key));
    else if (!lk_sweep_is_null(node))
        LK_TRY(lk_sweep_text(r, node, key, &text));
    LK_TRY(append(r, variant, own, node, key, list != NULL ? list : text));
out:
    lk_free(list);
    return status;
}

/* Recursion: MAX_DEPTH levels. prefix: "optimizer." or "". */
static lk_status take_group(lk_sweep_reader *r, lk_sweep_variant *variant, int own, const yaml_node_t *node,
                            const char *prefix, int depth, const char **base) {
    if (node->type != YAML_MAPPING_NODE) return lk_sweep_fail(r, node, "there must be keys of a job and their values");
    if (depth == MAX_DEPTH) return lk_sweep_fail(r, node, "keys are nested more than %d deep", MAX_DEPTH);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key, *value;
        const char *name;
        char path[128];
        LK_RETURN_IF(lk_sweep_node(r, pair->key, &key));
        LK_RETURN_IF(lk_sweep_node(r, pair->value, &value));
        LK_RETURN_IF(lk_sweep_text(r, key, "a key", &name));
        int length = snprintf(path, sizeof path, "%s%s", prefix, name);
        if (length >= (int)sizeof path - 1) return lk_sweep_fail(r, key, "a key is longer than any key of a job");
        if (strcmp(path, "base") == 0) {
            if (base == NULL) return lk_sweep_fail(r, key, "'base' belongs to the sweep or to a variant, not to 'set'");
            if (*base != NULL) return lk_sweep_fail(r, key, "'base' is given twice");
            LK_RETURN_IF(lk_sweep_base(r, value, base));
            continue;
        }
        if (value->type != YAML_MAPPING_NODE) {
            LK_RETURN_IF(take_value(r, variant, own, value, path));
            continue;
        }
        if (value->data.mapping.pairs.start == value->data.mapping.pairs.top)
            return lk_sweep_fail(r, key, "'%s' has no keys", path);
        path[length] = '.';
        path[length + 1] = '\0';
        LK_RETURN_IF(take_group(r, variant, own, value, path, depth + 1, base));
    }
    return LK_OK;
}

lk_status lk_sweep_changes(lk_sweep_reader *r, lk_sweep_variant *variant, const yaml_node_t *node, const char **base) {
    if (node == NULL) return LK_OK;
    return take_group(r, variant, variant->override_count, node, "", 0, base);
}

lk_status lk_sweep_read(lk_sweep *out, const char *path, lk_error *err) {
    lk_status status;
    char *text = NULL;
    memset(out, 0, sizeof *out);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return lk_fail_errno(err, "read", path);
    LK_TRY(LK_NEW(&text, MAX_BYTES + 1, "a sweep", err));
    size_t size = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file)) {
        status = lk_fail_errno(err, "read", path);
        goto out;
    }
    LK_TRY(lk_sweep_parse(out, text, size, path, err));
out:
    fclose(file);
    lk_free(text);
    return status;
}
