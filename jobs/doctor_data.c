#include "jobs/doctor_data.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/memory.h"

enum { HELD_OUT = 20, CLASSES = 4, NOISE = 120, BRIGHT = 120, PACK_SECONDS = 120 };

static bool put_number(FILE *file, uint32_t number) {
    unsigned char bytes[] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16), (unsigned char)(number >> 8),
                             (unsigned char)number};
    return fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes;
}

static void draw(uint8_t *pixels, int size, int label, uint64_t *state) {
    int half = size / 2, top = label / 2 * half, left = label % 2 * half;
    for (int i = 0; i < size * size; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        bool bright = i / size >= top && i / size < top + half && i % size >= left && i % size < left + half;
        pixels[i] = (uint8_t)((*state >> 33) % NOISE + (bright ? BRIGHT : 0));
    }
}

/* Writes PREFIX-images-idx3-ubyte and PREFIX-labels-idx1-ubyte. */
static lk_status write_part(const char *folder, const char *prefix, int count, int size, lk_error *err) {
    lk_status status = LK_OK;
    char *paths[2] = {0};
    FILE *files[2] = {0};
    uint8_t *pixels = NULL;
    uint64_t state = (uint64_t)count;
    bool well = true;
    LK_TRY(lk_format(&paths[0], err, "%s/%s-images-idx3-ubyte", folder, prefix));
    LK_TRY(lk_format(&paths[1], err, "%s/%s-labels-idx1-ubyte", folder, prefix));
    LK_TRY(LK_NEW(&pixels, size * size, "a picture", err));
    for (int i = 0; i < 2; i++)
        if ((files[i] = fopen(paths[i], "wb")) == NULL) LK_TRY(lk_fail_errno(err, "write", paths[i]));
    well = put_number(files[0], 2051) && put_number(files[0], (uint32_t)count) &&
           put_number(files[0], (uint32_t)size) && put_number(files[0], (uint32_t)size) && put_number(files[1], 2049) &&
           put_number(files[1], (uint32_t)count);
    for (int i = 0; i < count && well; i++) {
        draw(pixels, size, i % CLASSES, &state);
        well = fwrite(pixels, (size_t)size * (size_t)size, 1, files[0]) == 1 && fputc(i % CLASSES, files[1]) != EOF;
    }
    for (int i = 0; i < 2; i++) {
        well = fclose(files[i]) == 0 && well;
        files[i] = NULL;
    }
    if (!well) status = lk_fail_errno(err, "write", paths[0]);
out:
    for (int i = 0; i < 2; i++) {
        if (files[i] != NULL) fclose(files[i]);
        lk_free(paths[i]);
    }
    lk_free(pixels);
    return status;
}

lk_status lk_doctor_data(lk_selftest *test, const char *path, int count, int size, lk_error *err) {
    lk_status status = LK_OK;
    char *folder = NULL, held_out[16], how[LK_PROCESS_TEXT];
    lk_process p = {0};
    LK_TRY(lk_format(&folder, err, "%s/pictures-%d", test->folder, size));
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) LK_TRY(lk_fail_errno(err, "create", folder));
    LK_TRY(write_part(folder, "train", count + HELD_OUT, size, err));
    LK_TRY(write_part(folder, "t10k", HELD_OUT, size, err));
    snprintf(held_out, sizeof held_out, "%d", HELD_OUT);
    const char *const argv[] = {test->program, "pack", folder, path, "--val", held_out, NULL};
    LK_TRY(lk_process_run(&p, test->folder, argv, NULL, PACK_SECONDS, err));
    if (p.exit_status != 0)
        status = lk_fail(err, LK_ERR_INTERNAL, "the self-test cannot pack its own pictures: %s",
                         lk_process_text(&p, how, sizeof how));
out:
    lk_free(p.output);
    lk_free(folder);
    return status;
}
