/* Status codes and the one-sentence error that every fallible function fills. */
#ifndef LK_CORE_ERROR_H
#define LK_CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

/* Worse is larger: lk_comm_agree() takes the maximum over the ranks. */
typedef enum lk_status {
    LK_OK = 0,
    LK_STOPPED,         /* asked to stop; state is saved; run again to go on (exit 75) */
    LK_ERR_USAGE,       /* the command line is wrong (exit 2) */
    LK_ERR_CONFIG,      /* a job file or a combination of settings is wrong */
    LK_ERR_DATA,        /* a sample, a data set, a checkpoint holds what it must not */
    LK_ERR_IO,          /* the operating system refused a file operation */
    LK_ERR_MEMORY,      /* no memory */
    LK_ERR_UNSUPPORTED, /* this device, build or processor lacks what is asked for */
    LK_ERR_DEVICE,      /* an arithmetic library failed */
    LK_ERR_COMM,        /* a communicator failed, or a rank is dead or stuck */
    LK_ERR_NUMERIC,     /* NaN or Inf where none may be */
    LK_ERR_INTERNAL     /* a promise of this program is broken: report it */
} lk_status;

#define LK_ERROR_SIZE 1024

/* Owner: the caller; usually one on main()'s stack, borrowed by all. */
typedef struct lk_error {
    lk_status status;
    char message[LK_ERROR_SIZE]; /* one sentence: what, where, what to do; no newline */
} lk_error;

#define LK_MUST_CHECK __attribute__((warn_unused_result))

/* Fills *err (when not NULL) and returns `status`. The first error wins: a filled *err is kept. */
LK_MUST_CHECK lk_status lk_fail(lk_error *err, lk_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As lk_fail with a va_list. */
LK_MUST_CHECK lk_status lk_vfail(lk_error *err, lk_status status, const char *format, va_list args);

/* Fills *err from errno: "cannot WHAT PATH: REASON". Returns LK_ERR_IO (LK_ERR_MEMORY on ENOMEM). */
LK_MUST_CHECK lk_status lk_fail_errno(lk_error *err, const char *what, const char *path);

/* Clears the error so that it can be filled again. */
void lk_error_clear(lk_error *err);

/* Short name of a status ("data", "memory"), static. */
const char *lk_status_name(lk_status status);

/* Exit status of the program: 0, 1, 2 or 75. */
int lk_exit_status(lk_status status);

/* Leaves through the label `out` of the calling function with its variable `status` set. */
#define LK_TRY(call)                   \
    do {                               \
        status = (call);               \
        if (status != LK_OK) goto out; \
    } while (0)

/* Returns the status at once; for functions that own nothing yet. */
#define LK_RETURN_IF(call)                          \
    do {                                            \
        lk_status lk_status_ = (call);              \
        if (lk_status_ != LK_OK) return lk_status_; \
    } while (0)

#endif
