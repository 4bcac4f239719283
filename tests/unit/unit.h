/* cmocka with what it needs before it. */
#ifndef LK_TESTS_UNIT_H
#define LK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those before it */
#include <cmocka.h>

#endif
