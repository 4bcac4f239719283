#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/names.h"
#include "train/weights_import.h"

#define MAX_CLASSES 100000

static lk_status read_lines(lk_names *names, FILE *file, const char *path, lk_error *err) {
    char line[1024];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        size_t length = strcspn(line, "\r\n");
        if (line[length] == '\0' && !feof(file))
            return lk_fail(err, LK_ERR_DATA, "%s line %d is longer than a class name may be", path, number);
        line[length] = '\0';
        int32_t before = names->count, index;
        lk_error reason = {0};
        if (names->count == MAX_CLASSES)
            return lk_fail(err, LK_ERR_DATA, "%s has more than %d lines", path, MAX_CLASSES);
        lk_status status = lk_names_add(names, line, &index, &reason);
        if (status == LK_ERR_DATA)
            return lk_fail(err, status, "%s line %d is no class name: give UTF-8 text of 1 to 255 bytes", path, number);
        if (status != LK_OK) return lk_fail(err, status, "%s", reason.message);
        if (names->count == before)
            return lk_fail(err, LK_ERR_DATA, "%s line %d repeats the class name of line %d", path, number, index + 1);
    }
    return LK_OK;
}

lk_status lk_class_names_read(char ***out, int *count, const char *path, lk_error *err) {
    lk_names names = {0};
    lk_status status = LK_OK;
    *out = NULL;
    *count = 0;
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return lk_fail_errno(err, "read", path);
    LK_TRY(read_lines(&names, file, path, err));
    if (ferror(file)) {
        status = lk_fail_errno(err, "read", path);
        goto out;
    }
    LK_TRY(LK_NEW(out, names.count, "class names", err));
    for (; *count < names.count; ++*count) LK_TRY(lk_strdup(&(*out)[*count], names.names[*count], err));
out:
    fclose(file);
    lk_names_free(&names);
    if (status != LK_OK) lk_class_names_free(*out, *count);
    return status;
}

void lk_class_names_free(char **names, int count) {
    for (int i = 0; names != NULL && i < count; i++) lk_free(names[i]);
    lk_free(names);
}
