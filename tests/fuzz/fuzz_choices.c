/* Mutated lists of engines parse, or are refused with one sentence; what parses is written as it was read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fuzz.h"
#include "nn/choices.h"

static const char *const seeds[] = {
    "lockstep-choices 1\n",
    "lockstep-choices 1\n"
    "conv1 forward bfloat16 8x3x16x16 = cudnn engine 12 in 16 bits knobs 2=1 5=-3\n"
    "layer1.0.conv1 weight bfloat16 8x16x16x16 = cudnn engine 4\n"
    "fc data float32 8x16x1x1 = cublaslt algorithm 7 words 0000000000000007 0000000000000000\n",
};

uint8_t *fuzz_seed(int i, size_t *size) {
    char *text = NULL;
    if (i >= (int)(sizeof seeds / sizeof *seeds) || lk_strdup(&text, seeds[i], NULL) != LK_OK) return NULL;
    *size = strlen(text);
    return (uint8_t *)text;
}

static void check(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "fuzz_choices: %s\n", what);
    abort();
}

int fuzz_run(const uint8_t *bytes, size_t size) {
    lk_choices *list = NULL;
    lk_error err = {0};
    char *text = NULL, *same = NULL;
    check(LK_NEW(&text, size + 1, "a text", NULL) == LK_OK, "no memory");
    memcpy(text, bytes, size);
    lk_status status = lk_choices_parse(&list, text, "a.h5", &err);
    if (status == LK_OK) {
        check(lk_choices_write(list, &same, NULL) == LK_OK && strcmp(text, same) == 0, "a list is written otherwise");
    } else {
        check(status == LK_ERR_DATA && err.message[0] != '\0' && strchr(err.message, '\n') == NULL, "no sentence");
    }
    lk_choices_free(list);
    lk_free(text);
    lk_free(same);
    return status == LK_OK;
}
