#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/memory.h"
#include "core/options.h"
#include "core/options_internal.h"

typedef struct writer {
    const lk_option *table;
    int count;
    const void *target;
    yaml_emitter_t emitter;
    bool *done; /* count */
    lk_error *err;
} writer;

/* made: did the event's initialiser succeed? The emitter owns the event from here on. */
static lk_status emit(writer *w, yaml_event_t *event, int made, const char *what) {
    if (!made) return lk_fail(w->err, LK_ERR_CONFIG, "'%s' cannot be written: its text is not UTF-8", what);
    if (yaml_emitter_emit(&w->emitter, event)) return LK_OK;
    return lk_fail(w->err, LK_ERR_MEMORY, "cannot write '%s': %s", what,
                   w->emitter.problem == NULL ? "out of memory" : w->emitter.problem);
}

static lk_status emit_text(writer *w, const char *text, size_t length, bool quoted, const char *what) {
    yaml_event_t event;
    yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
    int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)length, 1, 1, style);
    return emit(w, &event, made, what);
}

static lk_status emit_mapping(writer *w, bool start) {
    yaml_event_t event;
    int made = start ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
                     : yaml_mapping_end_event_initialize(&event);
    return emit(w, &event, made, "a group");
}

static lk_status emit_list(writer *w, const lk_option *option, const char *text) {
    yaml_event_t event;
    int made = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE);
    LK_RETURN_IF(emit(w, &event, made, option->name));
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        LK_RETURN_IF(emit_text(w, text, length, false, option->name));
        text += length;
        text += strspn(text, ", ");
    }
    made = yaml_sequence_end_event_initialize(&event);
    return emit(w, &event, made, option->name);
}

static lk_status emit_value(writer *w, const lk_option *option) {
    char text[LK_OPTION_TEXT_SIZE];
    if (option->type == LK_OPTION_STRING) {
        const char *value = *(char *const *)((const char *)w->target + option->offset);
        return emit_text(w, value, strlen(value), true, option->name);
    }
    lk_option_print(option, w->target, text, sizeof text);
    if (lk_option_list_size(option) > 0) return emit_list(w, option, text);
    return emit_text(w, text, strlen(text), option->type == LK_OPTION_CHOICE, option->name);
}

/* All options whose names start with the first `length` characters of option `first`'s name. Options of one group need
 * not be neighbours in the table, but a key may stand only once in a file. Recursion: one level a dot. */
static lk_status emit_group(writer *w, int first, size_t length) {
    LK_RETURN_IF(emit_mapping(w, true));
    for (int i = first; i < w->count; i++) {
        const lk_option *option = &w->table[i];
        if (w->done[i] || strncmp(option->name, w->table[first].name, length) != 0) continue;
        const char *key = option->name + length, *dot = strchr(key, '.');
        size_t key_length = dot == NULL ? strlen(key) : (size_t)(dot - key);
        LK_RETURN_IF(emit_text(w, key, key_length, false, option->name));
        if (dot != NULL) {
            LK_RETURN_IF(emit_group(w, i, length + key_length + 1));
        } else {
            w->done[i] = true;
            LK_RETURN_IF(emit_value(w, option));
        }
    }
    return emit_mapping(w, false);
}

static lk_status emit_document(writer *w) {
    yaml_event_t event;
    int made = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    LK_RETURN_IF(emit(w, &event, made, "the file"));
    made = yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    LK_RETURN_IF(emit(w, &event, made, "the file"));
    LK_RETURN_IF(emit_group(w, 0, 0));
    made = yaml_document_end_event_initialize(&event, 1);
    LK_RETURN_IF(emit(w, &event, made, "the file"));
    made = yaml_stream_end_event_initialize(&event);
    return emit(w, &event, made, "the file");
}

static bool is_unset(const lk_option *option, const void *target) {
    return option->type == LK_OPTION_STRING && *(char *const *)((const char *)target + option->offset) == NULL;
}

lk_status lk_options_write_yaml(const lk_option *table, int count, const void *target, char **out, lk_error *err) {
    writer w = {.table = table, .count = count, .target = target, .err = err};
    lk_status status = LK_OK;
    char *text = NULL;
    size_t size = 0;
    *out = NULL;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot write a job file: out of memory");
    LK_TRY(LK_NEW(&w.done, count, "options", err));
    for (int i = 0; i < count; i++) w.done[i] = is_unset(&table[i], target);
    if (!yaml_emitter_initialize(&w.emitter)) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot write a job file: out of memory");
        goto out;
    }
    yaml_emitter_set_output_file(&w.emitter, stream);
    yaml_emitter_set_width(&w.emitter, -1);
    yaml_emitter_set_unicode(&w.emitter, 1);
    status = emit_document(&w);
    yaml_emitter_delete(&w.emitter);
    if (status != LK_OK) goto out;
    if (fflush(stream) != 0) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot write a job file: out of memory");
        goto out;
    }
    LK_TRY(lk_strdup(out, text, err));
out:
    fclose(stream);
    free(text);
    lk_free(w.done);
    return status;
}
