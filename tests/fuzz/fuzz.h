/* What a fuzz target gives to driver.c. With clang, -DLOCKSTEP_LIBFUZZER=ON links the same targets with libFuzzer. */
#ifndef LK_TESTS_FUZZ_H
#define LK_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Must return for any input: with 1 when the input was accepted, with 0 when it was refused. */
int fuzz_run(const uint8_t *bytes, size_t size);
/* Valid input number i, freed by the caller with lk_free; NULL: there are no more. */
uint8_t *fuzz_seed(int i, size_t *size);

#endif
