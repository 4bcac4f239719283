/* Mutated checkpoints (with hashes made right again, so that the mutation reaches what lies behind them), safetensors
 * and ONNX files: each must open, or be refused with one sentence. Run under sanitizers, where a crash names its line.
 *   fuzz_checkpoint [ITERATIONS [SEED]]
 * ITERATIONS of each format, default 1500. Prints how many were refused and how many opened. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/random.h"
#include "io/model/checkpoint_format.h"
#include "jobs/inspect.h"
#include "train/export.h"

#define MAX_GROWTH 64

typedef struct random_source {
    uint64_t seed, next;
} random_source;

static uint64_t below(random_source *r, uint64_t bound) {
    lk_random_key key = {r->seed, 0, LK_RANDOM_GOLDEN};
    return lk_random_below(&key, r->next++, 0, bound);
}

typedef struct bytes {
    unsigned char *data;
    size_t size;
} bytes;

static lk_status read_all(bytes *out, const char *path, lk_error *err) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    fseek(file, 0, SEEK_END);
    out->size = (size_t)ftell(file);
    rewind(file);
    lk_status status = LK_NEW(&out->data, out->size, "a file", err);
    if (status == LK_OK && fread(out->data, 1, out->size, file) != out->size) status = lk_fail_errno(err, "read", path);
    fclose(file);
    return status;
}

static lk_status write_all(const bytes *in, const char *path, lk_error *err) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    size_t done = fwrite(in->data, 1, in->size, file);
    if (fclose(file) != 0 || done != in->size) return lk_fail_errno(err, "write", path);
    return LK_OK;
}

/* What breaks parsers of JSON, of protobuf and of sizes. */
static const char *const TOKENS[] = {"-1",
                                     "9223372036854775807",
                                     "4611686018427387904",
                                     "1e999",
                                     "null",
                                     "[[[[",
                                     "{}",
                                     "\"\"",
                                     "\\u00",
                                     "18446744073709551616",
                                     "0",
                                     "\xff\xff\xff\xff\x0f",
                                     "\x80\x80\x80",
                                     ",",
                                     "resnet152",
                                     "1.5",
                                     "16384",
                                     "true"};
enum { TOKEN_COUNT = sizeof TOKENS / sizeof TOKENS[0] };

/* A place to mutate: mostly inside [begin, end), where the structure is, sometimes anywhere. */
static size_t pick(random_source *r, const bytes *b, size_t begin, size_t end) {
    if (end > b->size) end = b->size; /* an earlier mutation took bytes away */
    if (below(r, 8) == 0 || end <= begin) return (size_t)below(r, b->size);
    return begin + (size_t)below(r, end - begin);
}

/* b->data has MAX_GROWTH spare bytes. */
static void mutate(random_source *r, bytes *b, size_t begin, size_t end) {
    size_t at = pick(r, b, begin, end), left = b->size - at;
    size_t run = 1 + (size_t)below(r, 24);
    if (run > left) run = left;
    const char *token = TOKENS[below(r, TOKEN_COUNT)];
    size_t length = strlen(token);
    switch (below(r, 6)) {
        case 0: b->data[at] ^= (unsigned char)(1u << below(r, 8)); break;
        case 1: b->data[at] = (unsigned char)below(r, 256); break;
        case 2: /* take a run away */
            memmove(b->data + at, b->data + at + run, left - run);
            b->size -= run;
            break;
        case 3: /* double a run */
            memmove(b->data + at + run, b->data + at, left);
            b->size += run;
            break;
        case 4: /* overwrite by a token */ memcpy(b->data + at, token, length < left ? length : left); break;
        default: /* put a token in */
            memmove(b->data + at + length, b->data + at, left);
            memcpy(b->data + at, token, length);
            b->size += length;
            break;
    }
}

/* Gives a checkpoint the length and the hashes of its bytes; the index keeps its place and takes the change of size. */
static lk_status seal(const char *path, const lk_checkpoint_block *old, size_t size, size_t old_size, lk_error *err) {
    lk_checkpoint_block block = *old;
    block.length = (int64_t)size - LK_CHECKPOINT_BLOCK;
    if (below(&(random_source){size, 0}, 2) == 0) block.index_length += (int64_t)size - (int64_t)old_size;
    if (block.index_length < 0) block.index_length = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return lk_fail_errno(err, "open", path);
    unsigned char head[LK_CHECKPOINT_BLOCK];
    lk_status status = lk_checkpoint_hash(block.hash, fd, (int64_t)size, path, err);
    lk_checkpoint_block_write(head, &block);
    if (status == LK_OK && pwrite(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        status = lk_fail_errno(err, "write", path);
    close(fd);
    return status;
}

typedef struct tally {
    long opened, refused;
} tally;

/* Any outcome but a sentence about the data is a failure of the program. */
static lk_status expect_sentence(lk_status found, const lk_error *reason, tally *t, lk_error *err) {
    bool sentence = found == LK_ERR_DATA && reason->message[0] != '\0' && strchr(reason->message, '\n') == NULL;
    t->opened += found == LK_OK;
    t->refused += found != LK_OK;
    if (found == LK_OK || sentence) return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL, "status %s: %s", lk_status_name(found), reason->message);
}

static lk_status try_file(const char *path, bool checkpoint, tally *t, lk_error *err) {
    lk_model_file file;
    lk_error reason = {0};
    lk_status found = lk_model_file_open(&file, path, &reason);
    if (found == LK_OK) lk_model_file_free(&file);
    LK_RETURN_IF(expect_sentence(found, &reason, t, err));
    lk_error_clear(&reason);
    tally ignored = {0};
    found = checkpoint ? lk_inspect_checkpoint(path, t->refused % 2 == 0, &reason)
                       : lk_inspect_export(path, t->refused % 2 == 0, &reason);
    return expect_sentence(found, &reason, &ignored, err);
}

static lk_status fuzz(const char *base, const char *path, bool checkpoint, long iterations, random_source *r,
                      lk_error *err) {
    bytes original = {0}, b = {0};
    lk_checkpoint_block block = {0};
    tally t = {0};
    lk_status status = LK_OK;
    LK_TRY(read_all(&original, base, err));
    LK_TRY(LK_NEW(&b.data, original.size + 8 * MAX_GROWTH, "a mutated file", err));
    size_t begin = 0, end = original.size < 24000 ? original.size : 24000; /* the header of the exports */
    if (checkpoint) {
        LK_TRY(lk_checkpoint_block_read(&block, original.data, base, err));
        begin = (size_t)block.index_offset;
        end = begin + (size_t)block.index_length;
    }
    for (long i = 0; i < iterations; i++) {
        memcpy(b.data, original.data, original.size);
        b.size = original.size;
        for (uint64_t k = 1 + below(r, 4); k > 0; k--) mutate(r, &b, begin, end);
        LK_TRY(write_all(&b, path, err));
        if (checkpoint && b.size > LK_CHECKPOINT_BLOCK) LK_TRY(seal(path, &block, b.size, original.size, err));
        LK_TRY(try_file(path, checkpoint, &t, err));
    }
    fprintf(stderr, "%s: %ld refused, %ld opened\n", strrchr(path, '.') + 1, t.refused, t.opened);
    if (iterations >= 100 && (t.opened == 0 || t.refused < iterations / 4))
        status = lk_fail(err, LK_ERR_INTERNAL, "the mutations of %s do not reach the readers", base);
out:
    lk_free(original.data);
    lk_free(b.data);
    return status;
}

/* A model of a few hundred kilobytes with golden samples. */
static lk_status make_base(const char *folder, char paths[3][256], lk_error *err) {
    static const char *const names[] = {"base.h5", "base.safetensors", "base.onnx"};
    char *classes[] = {(char[]){"cat"}, (char[]){"dog"}};
    lk_model_file file = {.meta = {.architecture = (char[]){"cifar_resnet8"},
                                   .class_count = 2,
                                   .class_names = classes,
                                   .preprocess = {.channels = 1, .height = 8, .width = 8, .std = {1}},
                                   .stored_rule = (char[]){""},
                                   .program = (char[]){"fuzz"}}};
    lk_model_spec spec = {.channels = 1, .h = 8, .w = 8, .classes = 2, .std = {1}};
    uint8_t images[2 * 64] = {0};
    float logits[4] = {1, 2, 3, 4};
    int64_t samples[2] = {0, 1};
    lk_status status = LK_OK;
    for (int i = 0; i < 3; i++) snprintf(paths[i], 256, "%s/%s", folder, names[i]);
    LK_TRY(lk_meta_write(&file.meta_text, &file.meta, err));
    LK_TRY(lk_model_build(&file.graph, "cifar_resnet8", &spec, err));
    LK_TRY(lk_state_dict_list(&file.tensors, &file.tensor_count, file.graph, err));
    for (int i = 0; i < file.tensor_count; i++)
        LK_TRY(lk_alloc(&file.tensors[i].tensor.data, (size_t)lk_shape_count(&file.tensors[i].tensor.shape), 8,
                        "a tensor", err));
    file.golden_count = 2;
    file.golden_images = images;
    file.golden_logits = logits;
    file.golden_samples = samples;
    LK_TRY(lk_export_checkpoint(&file, paths[0], err));
    LK_TRY(lk_export_safetensors(&file, paths[1], err));
    LK_TRY(lk_export_onnx(&file, true, paths[2], err));
out:
    lk_state_dict_free(file.tensors, file.tensor_count);
    lk_graph_free(file.graph);
    lk_free(file.meta_text);
    return status;
}

static lk_status run(const char *folder, long iterations, uint64_t seed, lk_error *err) {
    char bases[3][256];
    static const char *const endings[] = {"h5", "safetensors", "onnx"};
    lk_status status = LK_OK;
    random_source r = {seed, 0};
    LK_TRY(make_base(folder, bases, err));
    for (int i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/mutated.%s", folder, endings[i]);
        LK_TRY(fuzz(bases[i], path, i == 0, iterations, &r, err));
        unlink(path); /* a failure leaves it, to look at */
    }
    for (int i = 0; i < 3; i++) {
        char beside[264];
        snprintf(beside, sizeof beside, "%.255s.json", bases[i]);
        unlink(bases[i]);
        unlink(beside);
    }
    rmdir(folder);
out:
    return status;
}

int main(int argc, char **argv) {
    lk_error err = {0};
    char folder[] = "/tmp/lockstep-fuzz-XXXXXX";
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 1500;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (mkdtemp(folder) == NULL || freopen("/dev/null", "w", stdout) == NULL) return 1;
    lk_status status = run(folder, iterations, seed, &err);
    if (status != LK_OK) fprintf(stderr, "fuzz_checkpoint: %s (files in %s)\n", err.message, folder);
    return status == LK_OK ? 0 : 1;
}
