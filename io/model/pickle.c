#include "io/model/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "io/model/pickle_internal.h"

lk_status lk_pickle_fail(const lk_pickle_machine *m, const char *format, ...) {
    char text[LK_ERROR_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return lk_fail(m->err, LK_ERR_DATA, "%.300s: its pickle at byte %zu %s", m->where, m->at == 0 ? 0 : m->at - 1,
                   text);
}

lk_status lk_pickle_push(lk_pickle_machine *m, int32_t value) {
    LK_RETURN_IF(lk_grow((void **)&m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack, "a pickle", m->err));
    m->stack[m->depth++] = value;
    return LK_OK;
}

lk_status lk_pickle_push_new(lk_pickle_machine *m, lk_pickle_kind kind, lk_pickle_value **out) {
    lk_pickle *p = m->pickle;
    if (p->value_count == LK_PICKLE_MAX_VALUES)
        return lk_pickle_fail(m, "holds more than %d values, so it is hardly a state dict", LK_PICKLE_MAX_VALUES);
    LK_RETURN_IF(
        lk_grow((void **)&p->values, &p->value_capacity, p->value_count + 1, sizeof *p->values, "a pickle", m->err));
    lk_pickle_value *value = &p->values[p->value_count];
    *value = (lk_pickle_value){.kind = kind, .head = -1, .tail = -1};
    if (out != NULL) *out = value;
    return lk_pickle_push(m, (int32_t)p->value_count++);
}

lk_status lk_pickle_top(lk_pickle_machine *m, int32_t *out) {
    if (m->depth == 0) return lk_pickle_fail(m, "takes a value from an empty stack");
    *out = m->stack[m->depth - 1];
    if (m->pickle->values[*out].kind == LK_PICKLE_MARK) return lk_pickle_fail(m, "takes a mark for a value");
    return LK_OK;
}

lk_status lk_pickle_pop(lk_pickle_machine *m, int32_t *out) {
    LK_RETURN_IF(lk_pickle_top(m, out));
    m->depth--;
    return LK_OK;
}

lk_status lk_pickle_find_mark(const lk_pickle_machine *m, size_t *out) {
    for (size_t i = m->depth; i > 0; i--) {
        if (m->pickle->values[m->stack[i - 1]].kind != LK_PICKLE_MARK) continue;
        *out = i - 1;
        return LK_OK;
    }
    return lk_pickle_fail(m, "needs a mark and the stack has none");
}

lk_status lk_pickle_append(lk_pickle_machine *m, int32_t to, int32_t key, int32_t value) {
    lk_pickle *p = m->pickle;
    if (p->item_count == LK_PICKLE_MAX_VALUES)
        return lk_pickle_fail(m, "holds more than %d items, so it is hardly a state dict", LK_PICKLE_MAX_VALUES);
    LK_RETURN_IF(
        lk_grow((void **)&p->items, &p->item_capacity, p->item_count + 1, sizeof *p->items, "a pickle", m->err));
    int32_t item = (int32_t)p->item_count++;
    p->items[item] = (lk_pickle_item){key, value, -1};
    lk_pickle_value *container = &p->values[to];
    if (container->tail >= 0)
        p->items[container->tail].next = item;
    else
        container->head = item;
    container->tail = item;
    container->count++;
    return LK_OK;
}

/* Python numbers its memo without gaps, so an index beyond the end is no reason to allocate up to it. */
lk_status lk_pickle_memoize(lk_pickle_machine *m, uint64_t index) {
    int32_t top = -1;
    LK_RETURN_IF(lk_pickle_top(m, &top));
    if (index > m->memo_count) return lk_pickle_fail(m, "leaves a gap in its memo");
    if (index == m->memo_count) {
        LK_RETURN_IF(
            lk_grow((void **)&m->memo, &m->memo_capacity, m->memo_count + 1, sizeof *m->memo, "a pickle", m->err));
        m->memo_count++;
    }
    m->memo[index] = top;
    return LK_OK;
}

lk_status lk_pickle_recall(lk_pickle_machine *m, uint64_t index) {
    if (index >= m->memo_count) return lk_pickle_fail(m, "takes from its memo what was never put there");
    return lk_pickle_push(m, m->memo[index]);
}

lk_status lk_pickle_parse(lk_pickle *out, const uint8_t *bytes, size_t size, const char *where, lk_error *err) {
    *out = (lk_pickle){.root = -1};
    lk_pickle_machine m = {.pickle = out, .bytes = bytes, .size = size, .where = where, .err = err};
    lk_status status = LK_OK;
    while (status == LK_OK && !m.stopped) status = lk_pickle_step(&m);
    if (status == LK_OK) status = lk_pickle_pop(&m, &out->root);
    if (status == LK_OK && m.depth != 0) status = lk_pickle_fail(&m, "ends with values left on its stack");
    out->size = m.at;
    lk_free(m.stack);
    lk_free(m.memo);
    return status;
}

void lk_pickle_free(lk_pickle *pickle) {
    lk_free(pickle->values);
    lk_free(pickle->items);
    *pickle = (lk_pickle){.root = -1};
}

bool lk_pickle_is_text(const lk_pickle *pickle, int32_t v, const char *text) {
    if (v < 0 || pickle->values[v].kind != LK_PICKLE_TEXT) return false;
    const lk_pickle_value *value = &pickle->values[v];
    return value->length == strlen(text) && memcmp(value->text, text, value->length) == 0;
}

int32_t lk_pickle_member(const lk_pickle *pickle, int32_t v, int i) {
    if (v < 0 || (pickle->values[v].kind != LK_PICKLE_TUPLE && pickle->values[v].kind != LK_PICKLE_LIST)) return -1;
    int32_t item = pickle->values[v].head;
    for (; item >= 0 && i > 0; i--) item = pickle->items[item].next;
    return item < 0 ? -1 : pickle->items[item].value;
}

int32_t lk_pickle_lookup(const lk_pickle *pickle, int32_t v, const char *key) {
    int32_t found = -1;
    if (v < 0 || pickle->values[v].kind != LK_PICKLE_DICT) return -1;
    for (int32_t item = pickle->values[v].head; item >= 0; item = pickle->items[item].next)
        if (lk_pickle_is_text(pickle, pickle->items[item].key, key)) found = pickle->items[item].value;
    return found;
}
