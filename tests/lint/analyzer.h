/* Included before every file that clang-tidy looks at: its analyzer sees one file at a time and has to be told that a
 * function of error.c that fails returns the failure. */
#ifndef LK_TESTS_LINT_ANALYZER_H
#define LK_TESTS_LINT_ANALYZER_H

#include "core/error.h"

#define lk_fail(err, status, ...) ((void)lk_fail((err), (status), __VA_ARGS__), (status))
#define lk_fail_errno(err, what, path) ((void)lk_fail_errno((err), (what), (path)), LK_ERR_IO)

#endif
