#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "core/memory.h"
#include "core/options.h"
#include "core/options_internal.h"

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 8 };

typedef struct reader {
    const lk_option *table;
    int count;
    void *target;
    const char *where;
    bool *given;   /* count: an option was set in this text */
    bool *grouped; /* count x MAX_DEPTH: a group (i: its first option, level: dots in its name) was opened */
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    char path[LK_OPTION_MAX_NAME]; /* "optimizer.momentum" */
    int depth;                     /* mappings that are open */
    size_t outer[MAX_DEPTH + 1];   /* by depth: length of the path before that mapping's key */
    lk_error *err;
} reader;

static lk_status fail_at(reader *r, size_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));

static lk_status fail_at(reader *r, size_t line, const char *format, ...) {
    char text[LK_ERROR_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return lk_fail(r->err, LK_ERR_CONFIG, "%s line %zu: %s", r->where, line, text);
}

static size_t line_of(const reader *r) { return r->event.start_mark.line + 1; }

static lk_status next_event(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        if (r->parser.error == YAML_MEMORY_ERROR)
            return lk_fail(r->err, LK_ERR_MEMORY, "cannot read %s: out of memory", r->where);
        const char *problem = r->parser.problem == NULL ? "unreadable" : r->parser.problem;
        size_t line = r->parser.error == YAML_READER_ERROR ? r->parser.mark.line : r->parser.problem_mark.line;
        return fail_at(r, line + 1, "not valid YAML: %s", problem);
    }
    r->has_event = true;
    if (r->event.type == YAML_ALIAS_EVENT) return fail_at(r, line_of(r), "aliases (*name) are not allowed");
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (r->event.type == YAML_SCALAR_EVENT) {
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
    } else if (r->event.type == YAML_MAPPING_START_EVENT) {
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
    }
    if (anchor != NULL) return fail_at(r, line_of(r), "anchors (&name) are not allowed");
    if (tag != NULL) return fail_at(r, line_of(r), "tags (!name) are not allowed");
    return LK_OK;
}

/* Text of the current scalar; refuses NUL bytes, behind which text would be lost. */
static lk_status scalar_text(reader *r, const char **out) {
    const char *text = *out = (const char *)r->event.data.scalar.value;
    if (strlen(text) != r->event.data.scalar.length) return fail_at(r, line_of(r), "a NUL character in the text");
    return LK_OK;
}

static bool is_null(const reader *r) {
    const char *text = (const char *)r->event.data.scalar.value;
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

/* First option inside the group called by the path, or -1. */
static int find_group(const reader *r) {
    size_t length = strlen(r->path);
    for (int i = 0; i < r->count; i++)
        if (strncmp(r->table[i].name, r->path, length) == 0 && r->table[i].name[length] == '.') return i;
    return -1;
}

static lk_status append_key(reader *r, const char *key) {
    size_t used = strlen(r->path), length = strlen(key);
    char quoted[80];
    if (length == 0) return fail_at(r, line_of(r), "a key is empty");
    if (used + 1 + length >= sizeof r->path)
        return fail_at(r, line_of(r), "unknown key '%s'", lk_option_quote(quoted, sizeof quoted, key));
    if (used > 0) r->path[used++] = '.';
    memcpy(r->path + used, key, length + 1);
    return LK_OK;
}

static lk_status set_value(reader *r, int i, const char *value, size_t line) {
    char where[320], quoted[256];
    snprintf(where, sizeof where, "%s line %zu", lk_option_quote(quoted, sizeof quoted, r->where), line);
    return lk_option_assign(&r->table[i], r->target, value, where, LK_ERR_CONFIG, r->err);
}

static lk_status read_null(reader *r, int i) {
    const lk_option *option = &r->table[i];
    if (option->type == LK_OPTION_STRING && option->optional && option->default_text == NULL)
        return set_value(r, i, "", line_of(r));
    return fail_at(r, line_of(r), "'%s' has no value", option->name);
}

static lk_status read_list(reader *r, int i) {
    const lk_option *option = &r->table[i];
    size_t line = line_of(r), used = 0;
    char text[LK_OPTION_TEXT_SIZE] = "";
    if (lk_option_list_size(option) == 0) return fail_at(r, line, "'%s' takes one value, not a list", option->name);
    for (;;) {
        LK_RETURN_IF(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail_at(r, line_of(r), "'%s' must be a list of numbers", option->name);
        const char *item;
        LK_RETURN_IF(scalar_text(r, &item));
        size_t length = strlen(item);
        if (length == 0 || strchr(item, ',') != NULL || used + length + 3 > sizeof text)
            return fail_at(r, line_of(r), "'%s' must be a list of at most %d numbers", option->name,
                           lk_option_list_size(option));
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used == 0 ? "" : ", ", item);
    }
    return set_value(r, i, text, line);
}

/* The current event is the value of option i. */
static lk_status read_option(reader *r, int i, size_t key_line) {
    if (r->given[i]) return fail_at(r, key_line, "'%s' is given twice", r->table[i].name);
    r->given[i] = true;
    if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_list(r, i);
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail_at(r, key_line, "'%s' takes a value, not a group of keys", r->table[i].name);
    if (is_null(r)) return read_null(r, i);
    const char *text;
    LK_RETURN_IF(scalar_text(r, &text));
    return set_value(r, i, text, line_of(r));
}

/* The current event is the value of the group that option i is the first of; `outer`: length of the path around it. */
static lk_status open_group(reader *r, int i, size_t outer, size_t key_line) {
    int level = 0;
    for (const char *p = r->path; *p != '\0'; p++) level += *p == '.';
    assert(level < MAX_DEPTH);
    bool *grouped = &r->grouped[i * MAX_DEPTH + level];
    if (*grouped) return fail_at(r, key_line, "'%s' is given twice", r->path);
    *grouped = true;
    if (r->event.type == YAML_SCALAR_EVENT && is_null(r)) return LK_OK;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return fail_at(r, key_line, "'%s' is a group of keys ('%s', ...), not a value", r->path, r->table[i].name);
    if (r->depth == MAX_DEPTH) return fail_at(r, key_line, "keys are nested more than %d deep", MAX_DEPTH);
    r->outer[++r->depth] = outer;
    return LK_OK;
}

static lk_status unknown_key(reader *r, size_t line) {
    char quoted[LK_OPTION_MAX_NAME];
    lk_option_quote(quoted, sizeof quoted, r->path);
    const char *near = lk_option_nearest(r->table, r->count, r->path);
    if (near == NULL) return fail_at(r, line, "unknown key '%s'", quoted);
    return fail_at(r, line, "unknown key '%s'; did you mean '%s'?", quoted, near);
}

/* "optimiser: {momentun: 1}" is near no option, but with its first key it is. */
static lk_status unknown_group(reader *r, size_t line) {
    size_t length = strlen(r->path);
    if (r->event.type != YAML_MAPPING_START_EVENT || lk_option_nearest(r->table, r->count, r->path) != NULL)
        return unknown_key(r, line);
    LK_RETURN_IF(next_event(r));
    if (r->event.type != YAML_SCALAR_EVENT) return unknown_key(r, line);
    const char *key;
    LK_RETURN_IF(scalar_text(r, &key));
    LK_RETURN_IF(append_key(r, key));
    if (lk_option_nearest(r->table, r->count, r->path) != NULL) return unknown_key(r, line_of(r));
    r->path[length] = '\0';
    return unknown_key(r, line);
}

/* One key and its value, or the start of its group. The current event is the key. */
static lk_status read_pair(reader *r) {
    if (r->event.type != YAML_SCALAR_EVENT) return fail_at(r, line_of(r), "a key must be a word");
    size_t line = line_of(r), length = strlen(r->path);
    const char *key;
    LK_RETURN_IF(scalar_text(r, &key));
    LK_RETURN_IF(append_key(r, key));
    LK_RETURN_IF(next_event(r));
    int depth = r->depth, i = lk_options_find(r->table, r->count, r->path);
    if (i >= 0) {
        LK_RETURN_IF(read_option(r, i, line));
    } else {
        i = find_group(r);
        if (i < 0) return unknown_group(r, line);
        LK_RETURN_IF(open_group(r, i, length, line));
    }
    if (r->depth == depth) r->path[length] = '\0';
    return LK_OK;
}

static void close_group(reader *r) {
    r->path[r->outer[r->depth]] = '\0';
    r->depth--;
}

static lk_status read_document(reader *r) {
    LK_RETURN_IF(next_event(r)); /* stream start */
    LK_RETURN_IF(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return LK_OK;
    LK_RETURN_IF(next_event(r));
    if (r->event.type == YAML_SCALAR_EVENT && is_null(r)) {
        LK_RETURN_IF(next_event(r));
    } else {
        if (r->event.type != YAML_MAPPING_START_EVENT)
            return fail_at(r, line_of(r), "the file must be 'key: value' lines");
        r->depth = 1;
        while (r->depth > 0) {
            LK_RETURN_IF(next_event(r));
            if (r->event.type == YAML_MAPPING_END_EVENT) {
                close_group(r);
            } else {
                LK_RETURN_IF(read_pair(r));
            }
        }
        LK_RETURN_IF(next_event(r));
    }
    LK_RETURN_IF(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return LK_OK;
    return fail_at(r, line_of(r), "a second document ('---') is not allowed");
}

lk_status lk_options_parse_yaml(const lk_option *table, int count, void *target, const char *text, size_t size,
                                const char *where, bool *seen, lk_error *err) {
    reader r = {.table = table, .count = count, .target = target, .where = where, .err = err};
    lk_status status = LK_OK;
    if (size > MAX_BYTES)
        return lk_fail(err, LK_ERR_CONFIG, "%s is larger than %d bytes: it is hardly a job file", where, MAX_BYTES);
    LK_TRY(LK_NEW(&r.given, count, "options", err));
    LK_TRY(LK_NEW(&r.grouped, count * MAX_DEPTH, "options", err));
    if (!yaml_parser_initialize(&r.parser)) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot read %s: out of memory", where);
        goto out;
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    status = read_document(&r);
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (seen != NULL)
        for (int i = 0; i < count; i++) seen[i] = seen[i] || r.given[i];
out:
    lk_free(r.given);
    lk_free(r.grouped);
    return status;
}

lk_status lk_options_read_yaml(const lk_option *table, int count, void *target, const char *path, bool *seen,
                               lk_error *err) {
    lk_status status = LK_OK;
    char *text = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) return lk_fail_errno(err, "read", path);
    LK_TRY(LK_NEW(&text, MAX_BYTES + 1, "a job file", err));
    errno = 0;
    size_t size = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file)) {
        status = lk_fail_errno(err, "read", path);
        goto out;
    }
    LK_TRY(lk_options_parse_yaml(table, count, target, text, size, path, seen, err));
out:
    fclose(file);
    lk_free(text);
    return status;
}
