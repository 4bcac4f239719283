#include <stdio.h>
#include <string.h>

#include "io/model/pickle_internal.h"

static const char *const GLOBALS[LK_GLOBAL_COUNT] = {
    [LK_GLOBAL_ORDERED_DICT] = "collections.OrderedDict",
    [LK_GLOBAL_REBUILD_TENSOR] = "torch._utils._rebuild_tensor",
    [LK_GLOBAL_REBUILD_TENSOR_V2] = "torch._utils._rebuild_tensor_v2",
    [LK_GLOBAL_REBUILD_PARAMETER] = "torch._utils._rebuild_parameter",
    [LK_GLOBAL_FLOAT_STORAGE] = "torch.FloatStorage",
    [LK_GLOBAL_DOUBLE_STORAGE] = "torch.DoubleStorage",
    [LK_GLOBAL_HALF_STORAGE] = "torch.HalfStorage",
    [LK_GLOBAL_BFLOAT16_STORAGE] = "torch.BFloat16Storage",
    [LK_GLOBAL_LONG_STORAGE] = "torch.LongStorage",
    [LK_GLOBAL_INT_STORAGE] = "torch.IntStorage",
    [LK_GLOBAL_BYTE_STORAGE] = "torch.ByteStorage",
};

/* "module.name" for a message, without what a terminal would obey. */
static const char *print_name(char *out, size_t size, const char *module, size_t module_length, const char *name,
                              size_t name_length) {
    snprintf(out, size, "%.*s.%.*s", (int)(module_length < 80 ? module_length : 80), module,
             (int)(name_length < 80 ? name_length : 80), name);
    for (char *c = out; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
    return out;
}

lk_status lk_pickle_push_global(lk_pickle_machine *m, const char *module, size_t module_length, const char *name,
                                size_t name_length) {
    for (int i = 0; i < LK_GLOBAL_COUNT; i++) {
        const char *dot = strrchr(GLOBALS[i], '.');
        if ((size_t)(dot - GLOBALS[i]) != module_length || memcmp(GLOBALS[i], module, module_length) != 0) continue;
        if (strlen(dot + 1) != name_length || memcmp(dot + 1, name, name_length) != 0) continue;
        lk_pickle_value *value;
        LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_GLOBAL, &value));
        value->integer = i;
        return LK_OK;
    }
    char text[200];
    return lk_pickle_fail(m,
                          "asks for '%s', which a state dict does not need: it could run code and was refused; save "
                          "'model.state_dict()' alone, or as safetensors",
                          print_name(text, sizeof text, module, module_length, name, name_length));
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]). */
static lk_status make_dict(lk_pickle_machine *m, int32_t arguments) {
    lk_pickle *p = m->pickle;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_DICT, NULL));
    int32_t dict = m->stack[m->depth - 1], pairs = lk_pickle_member(p, arguments, 0);
    if (p->values[arguments].count > 1 || (pairs >= 0 && p->values[pairs].kind != LK_PICKLE_LIST))
        return lk_pickle_fail(m, "makes a dictionary of something other than a list of pairs");
    int32_t end = pairs < 0 ? 0 : p->values[pairs].count, item = pairs < 0 ? -1 : p->values[pairs].head;
    for (int32_t i = 0; i < end && item >= 0; i++, item = p->items[item].next) {
        int32_t pair = p->items[item].value, key = lk_pickle_member(p, pair, 0), value = lk_pickle_member(p, pair, 1);
        if (key < 0 || value < 0) return lk_pickle_fail(m, "makes a dictionary of something other than pairs");
        LK_RETURN_IF(lk_pickle_append(m, dict, key, value));
    }
    return LK_OK;
}

lk_status lk_pickle_reduce(lk_pickle_machine *m) {
    int32_t arguments = -1, callee = -1;
    LK_RETURN_IF(lk_pickle_pop(m, &arguments));
    LK_RETURN_IF(lk_pickle_pop(m, &callee));
    const lk_pickle_value *values = m->pickle->values;
    if (values[callee].kind != LK_PICKLE_GLOBAL || values[arguments].kind != LK_PICKLE_TUPLE)
        return lk_pickle_fail(m, "calls (REDUCE) what is no name, or without a tuple of arguments");
    int64_t global = values[callee].integer;
    if (global == LK_GLOBAL_ORDERED_DICT) return make_dict(m, arguments);
    if (global != LK_GLOBAL_REBUILD_TENSOR && global != LK_GLOBAL_REBUILD_TENSOR_V2 &&
        global != LK_GLOBAL_REBUILD_PARAMETER)
        return lk_pickle_fail(m, "calls '%s', which only names a type here", GLOBALS[global]);
    lk_pickle_value *call;
    LK_RETURN_IF(lk_pickle_push_new(m, LK_PICKLE_CALL, &call));
    call->head = callee;
    call->tail = arguments;
    return LK_OK;
}

/* A state_dict is an OrderedDict with the attribute _metadata, which holds versions of layers: not needed. */
lk_status lk_pickle_build(lk_pickle_machine *m) {
    int32_t attributes = -1, target = -1;
    LK_RETURN_IF(lk_pickle_pop(m, &attributes));
    LK_RETURN_IF(lk_pickle_top(m, &target));
    const lk_pickle_value *values = m->pickle->values;
    if (values[target].kind != LK_PICKLE_DICT || values[attributes].kind != LK_PICKLE_DICT)
        return lk_pickle_fail(m, "sets attributes (BUILD) of something other than a dictionary");
    return LK_OK;
}
