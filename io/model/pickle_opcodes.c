#include <string.h>

#include "io/model/pickle_internal.h"

/* Codes of the opcodes that are run. Source: Python's pickletools. */
enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_NONE = 'N',
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_LONG1 = 0x8a,
    OP_BINFLOAT = 'G',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_SHORT_BINUNICODE = 0x8c,
    OP_EMPTY_TUPLE = ')',
    OP_TUPLE = 't',
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_APPENDS = 'e',
    OP_EMPTY_DICT = '}',
    OP_SETITEM = 's',
    OP_SETITEMS = 'u',
    OP_GLOBAL = 'c',
    OP_STACK_GLOBAL = 0x93,
    OP_REDUCE = 'R',
    OP_BUILD = 'b',
    OP_BINPERSID = 'Q',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_MEMOIZE = 0x94,
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_PROTO = 0x80,
    OP_FRAME = 0x95
};

/* Those that are refused, for the message. */
static const char *refused_name(uint8_t code) {
    static const struct {
        uint8_t code;
        const char *name;
    } names[] = {
        {'I', "INT"},          {'L', "LONG"},
        {0x8b, "LONG4"},       {'S', "STRING"},
        {'B', "BINBYTES"},     {'C', "SHORT_BINBYTES"},
        {0x8e, "BINBYTES8"},   {0x96, "BYTEARRAY8"},
        {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"},
        {'V', "UNICODE"},      {0x8d, "BINUNICODE8"},
        {'F', "FLOAT"},        {'l', "LIST"},
        {'d', "DICT"},         {0x8f, "EMPTY_SET"},
        {0x90, "ADDITEMS"},    {0x91, "FROZENSET"},
        {'0', "POP"},          {'2', "DUP"},
        {'1', "POP_MARK"},     {'g', "GET"},
        {'p', "PUT"},          {0x82, "EXT1"},
        {0x83, "EXT2"},        {0x84, "EXT4"},
        {'i', "INST"},         {'o', "OBJ"},
        {0x81, "NEWOBJ"},      {0x92, "NEWOBJ_EX"},
        {'P', "PERSID"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code) return names[i].name;
    return "unknown to Python";
}

/* The next `count` bytes. */
static lk_status take(lk_pickle_machine *m, size_t count, const uint8_t **out) {
    *out = m->bytes + m->at;
    if (count > m->size - m->at) return lk_pickle_fail(m, "ends in the middle of an opcode: it may be truncated");
    m->at += count;
    return LK_OK;
}

/* Little-endian, 1 to 8 bytes. */
static lk_status take_number(lk_pickle_machine *m, int bytes, uint64_t *out) {
    const uint8_t *from;
    LK_RETURN_IF(take(m, (size_t)bytes, &from));
    *out = 0;
    for (int i = 0; i < bytes; i++) *out |= (uint64_t)from[i] << (8 * i);
    return LK_OK;
}

static lk_status push_int(lk_pickle_machine *m, lk_pickle_kind kind, int64_t integer) {
    lk_pickle_value *value;
    LK_RETURN_IF(lk_pickle_push_new(m, kind, &value));
    value->integer = integer;
    return LK_OK;
}

static lk_status push_number(lk_pickle_machine *m, int bytes) {
    uint64_t number;
    LK_RETURN_IF(take_number(m, bytes, &number));
    return push_int(m, LK_PICKLE_INT, bytes == 4 ? (int32_t)(uint32_t)number : (int64_t)number);
}

/* Two's complement of the stated length. */
static lk_status push_long(lk_pickle_machine *m) {
    uint64_t length, number = 0;
    LK_RETURN_IF(take_number(m, 1, &length));
    const uint8_t *from;
    LK_RETURN_IF(take(m, (size_t)length, &from));
    /* Ten bytes are the magic number of PyTorch's older files; its low eight tell it. */
    if (length > 10) return lk_pickle_fail(m, "holds an integer of %d bytes", (int)length);
    for (uint64_t i = 0; i < 8; i++) {
        uint8_t byte = i < length ? from[i] : length > 0 && (from[length - 1] & 0x80) != 0 ? 0xff : 0;
        number |= (uint64_t)byte << (8 * i);
    }
    return push_int(m, LK_PICKLE_INT, (int64_t)number);
}

static lk_status push_float(lk_pickle_machine *m) {
    const uint8_t *from;
    LK_RETURN_IF(take(m, 8, &from));
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | from[i];
    lk_pickle_value *value;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_FLOAT, &value));
    memcpy(&value->real, &bits, sizeof bits);
    return LK_OK;
}

static lk_status push_text(lk_pickle_machine *m, int length_bytes) {
    uint64_t length;
    const uint8_t *from;
    LK_RETURN_IF(take_number(m, length_bytes, &length));
    LK_RETURN_IF(take(m, (size_t)length, &from));
    lk_pickle_value *value;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_TEXT, &value));
    value->text = (const char *)from;
    value->length = (uint32_t)length;
    return LK_OK;
}

/* The topmost `count` values become a tuple in their place. */
static lk_status make_tuple(lk_pickle_machine *m, size_t count) {
    if (m->depth < count) return lk_pickle_fail(m, "takes a value from an empty stack");
    size_t first = m->depth - count;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_TUPLE, NULL));
    int32_t tuple = m->stack[--m->depth];
    for (size_t i = first; i < first + count; i++) {
        if (m->pickle->values[m->stack[i]].kind == LK_PICKLE_MARK) return lk_pickle_fail(m, "takes a mark for a value");
        LK_RETURN_IF(lk_pickle_append(m, tuple, -1, m->stack[i]));
    }
    m->depth = first;
    return lk_pickle_push(m, tuple);
}

static lk_status make_tuple_to_mark(lk_pickle_machine *m) {
    size_t mark;
    LK_RETURN_IF(lk_pickle_find_mark(m, &mark));
    LK_RETURN_IF(make_tuple(m, m->depth - mark - 1));
    m->stack[mark] = m->stack[m->depth - 1];
    m->depth = mark + 1;
    return LK_OK;
}

/* Appends stack[first..depth) to the container below `base` (the mark or the first value), which stays on top. */
static lk_status extend(lk_pickle_machine *m, size_t base, size_t first, lk_pickle_kind kind) {
    if (base == 0 || first > m->depth) return lk_pickle_fail(m, "takes a value from an empty stack");
    int32_t container = m->stack[base - 1];
    if (m->pickle->values[container].kind != kind)
        return lk_pickle_fail(m, "adds items to what is no %s", kind == LK_PICKLE_DICT ? "dictionary" : "list");
    size_t step = kind == LK_PICKLE_DICT ? 2 : 1;
    if ((m->depth - first) % step != 0) return lk_pickle_fail(m, "gives a key without a value");
    for (size_t i = first; i < m->depth; i++)
        if (m->pickle->values[m->stack[i]].kind == LK_PICKLE_MARK) return lk_pickle_fail(m, "takes a mark for a value");
    for (size_t i = first; i < m->depth; i += step)
        LK_RETURN_IF(lk_pickle_append(m, container, step == 2 ? m->stack[i] : -1, m->stack[i + step - 1]));
    m->depth = base;
    return LK_OK;
}

static lk_status extend_by(lk_pickle_machine *m, size_t count, lk_pickle_kind kind) {
    if (m->depth < count) return lk_pickle_fail(m, "takes a value from an empty stack");
    return extend(m, m->depth - count, m->depth - count, kind);
}

static lk_status extend_to_mark(lk_pickle_machine *m, lk_pickle_kind kind) {
    size_t mark;
    LK_RETURN_IF(lk_pickle_find_mark(m, &mark));
    return extend(m, mark, mark + 1, kind);
}

/* The line at m->at without its end. */
static lk_status take_line(lk_pickle_machine *m, const char **out, size_t *length) {
    const uint8_t *from = m->bytes + m->at, *end = memchr(from, '\n', m->size - m->at);
    if (end == NULL) return lk_pickle_fail(m, "ends in the middle of an opcode: it may be truncated");
    *out = (const char *)from;
    *length = (size_t)(end - from);
    m->at += *length + 1;
    return LK_OK;
}

static lk_status push_global_line(lk_pickle_machine *m) {
    const char *module = NULL, *name = NULL;
    size_t module_length = 0, name_length = 0;
    LK_RETURN_IF(take_line(m, &module, &module_length));
    LK_RETURN_IF(take_line(m, &name, &name_length));
    return lk_pickle_push_global(m, module, module_length, name, name_length);
}

static lk_status push_global_stack(lk_pickle_machine *m) {
    int32_t name = -1, module = -1;
    LK_RETURN_IF(lk_pickle_pop(m, &name));
    LK_RETURN_IF(lk_pickle_pop(m, &module));
    const lk_pickle_value *n = &m->pickle->values[name], *o = &m->pickle->values[module];
    if (n->kind != LK_PICKLE_TEXT || o->kind != LK_PICKLE_TEXT)
        return lk_pickle_fail(m, "names a global by something other than text");
    return lk_pickle_push_global(m, o->text, o->length, n->text, n->length);
}

static lk_status push_persistent(lk_pickle_machine *m) {
    int32_t id = -1;
    LK_RETURN_IF(lk_pickle_pop(m, &id));
    lk_pickle_value *value;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_PERSISTENT, &value));
    value->head = id;
    return LK_OK;
}

static lk_status memo(lk_pickle_machine *m, int bytes, bool put) {
    uint64_t index;
    LK_RETURN_IF(take_number(m, bytes, &index));
    return put ? lk_pickle_memoize(m, index) : lk_pickle_recall(m, index);
}

static lk_status check_protocol(lk_pickle_machine *m) {
    uint64_t version;
    LK_RETURN_IF(take_number(m, 1, &version));
    return version <= 5 ? LK_OK : lk_pickle_fail(m, "has protocol %d; up to 5 are known", (int)version);
}

static lk_status step_container(lk_pickle_machine *m, uint8_t code) {
    switch (code) {
        case OP_MARK: return lk_pickle_push_new(m, LK_PICKLE_MARK, NULL);
        case OP_EMPTY_TUPLE: return lk_pickle_push_new(m, LK_PICKLE_TUPLE, NULL);
        case OP_TUPLE: return make_tuple_to_mark(m);
        case OP_TUPLE1: return make_tuple(m, 1);
        case OP_TUPLE2: return make_tuple(m, 2);
        case OP_TUPLE3: return make_tuple(m, 3);
        case OP_EMPTY_LIST: return lk_pickle_push_new(m, LK_PICKLE_LIST, NULL);
        case OP_APPEND: return extend_by(m, 1, LK_PICKLE_LIST);
        case OP_APPENDS: return extend_to_mark(m, LK_PICKLE_LIST);
        case OP_EMPTY_DICT: return lk_pickle_push_new(m, LK_PICKLE_DICT, NULL);
        case OP_SETITEM: return extend_by(m, 2, LK_PICKLE_DICT);
        case OP_SETITEMS: return extend_to_mark(m, LK_PICKLE_DICT);
        default:
            return lk_pickle_fail(m,
                                  "has the opcode %s (0x%02x), which a state dict does not need: it could run code and "
                                  "was refused; save 'model.state_dict()' alone, or as safetensors",
                                  refused_name(code), code);
    }
}

lk_status lk_pickle_step(lk_pickle_machine *m) {
    uint64_t code, frame;
    LK_RETURN_IF(take_number(m, 1, &code));
    switch (code) {
        case OP_PROTO: return check_protocol(m);
        case OP_FRAME: return take_number(m, 8, &frame); /* only says how much to read ahead */
        case OP_STOP: m->stopped = true; return LK_OK;
        case OP_NONE: return lk_pickle_push_new(m, LK_PICKLE_NONE, NULL);
        case OP_NEWTRUE:
        case OP_NEWFALSE: return push_int(m, LK_PICKLE_BOOL, code == OP_NEWTRUE);
        case OP_BININT1: return push_number(m, 1);
        case OP_BININT2: return push_number(m, 2);
        case OP_BININT: return push_number(m, 4);
        case OP_LONG1: return push_long(m);
        case OP_BINFLOAT: return push_float(m);
        case OP_SHORT_BINSTRING:
        case OP_SHORT_BINUNICODE: return push_text(m, 1);
        case OP_BINSTRING:
        case OP_BINUNICODE: return push_text(m, 4);
        case OP_GLOBAL: return push_global_line(m);
        case OP_STACK_GLOBAL: return push_global_stack(m);
        case OP_REDUCE: return lk_pickle_reduce(m);
        case OP_BUILD: return lk_pickle_build(m);
        case OP_BINPERSID: return push_persistent(m);
        case OP_BINPUT: return memo(m, 1, true);
        case OP_LONG_BINPUT: return memo(m, 4, true);
        case OP_MEMOIZE: return lk_pickle_memoize(m, m->memo_count);
        case OP_BINGET: return memo(m, 1, false);
        case OP_LONG_BINGET: return memo(m, 4, false);
        default: return step_container(m, (uint8_t)code);
    }
}
