/* cmocka with what it needs before it. */
#ifndef LK_TESTS_UNIT_H
#define LK_TESTS_UNIT_H

/* clang-format off: cmocka.h wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
