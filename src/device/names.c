/* Names of ops and activations; of what is described, whoever computes it. */
#include "device/ops.h"

const char *lk_op_kind_name(lk_op_kind kind) {
    static const char *const names[] = {
#define X(name, text, inputs, help) text,
        LK_OP_LIST(X)
#undef X
    };
    return kind >= 0 && kind < LK_OP_COUNT ? names[kind] : "unknown";
}

const char *lk_op_pass_name(lk_op_pass pass) {
    static const char *const names[] = {"forward", "data", "weight"};
    return (int)pass >= 0 && pass < LK_PASS_COUNT ? names[pass] : "unknown";
}

const char *lk_act_name(lk_act act) {
    static const char *const names[] = {
#define X(name, text, help) text,
        LK_ACT_LIST(X)
#undef X
    };
    return (int)act >= 0 && act < LK_ACT_COUNT ? names[act] : "unknown";
}
