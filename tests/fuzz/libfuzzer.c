/* The same targets under libFuzzer, which brings its own main and corpus. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    fuzz_run(bytes, size);
    return 0;
}
