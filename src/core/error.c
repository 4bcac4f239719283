#include "core/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

lk_status lk_vfail(lk_error *err, lk_status status, const char *format, va_list args) {
    if (err == NULL || err->status != LK_OK) return status;
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    return status;
}

lk_status lk_fail(lk_error *err, lk_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    lk_status result = lk_vfail(err, status, format, args);
    va_end(args);
    return result;
}

lk_status lk_fail_errno(lk_error *err, const char *what, const char *path) {
    int code = errno;
    lk_status status = code == ENOMEM ? LK_ERR_MEMORY : LK_ERR_IO;
    return lk_fail(err, status, "cannot %s %s: %s", what, path, strerror(code));
}

void lk_error_clear(lk_error *err) {
    if (err == NULL) return;
    err->status = LK_OK;
    err->message[0] = '\0';
}

const char *lk_status_name(lk_status status) {
    switch (status) {
        case LK_OK: return "ok";
        case LK_STOPPED: return "stopped";
        case LK_ERR_USAGE: return "usage";
        case LK_ERR_CONFIG: return "configuration";
        case LK_ERR_DATA: return "data";
        case LK_ERR_IO: return "file";
        case LK_ERR_MEMORY: return "memory";
        case LK_ERR_UNSUPPORTED: return "unsupported";
        case LK_ERR_DEVICE: return "device";
        case LK_ERR_COMM: return "communication";
        case LK_ERR_NUMERIC: return "numeric";
        case LK_ERR_INTERNAL: return "internal";
    }
    return "unknown";
}

int lk_exit_status(lk_status status) {
    switch (status) {
        case LK_OK: return 0;
        case LK_STOPPED: return 75;
        case LK_ERR_USAGE: return 2;
        default: return 1;
    }
}
