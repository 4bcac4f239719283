/* lockstep inspect: what is in a data set, a checkpoint or an export. */
#include "jobs/inspect.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "io/data/describe.h"
#include "jobs/command.h"

typedef struct inspect_options {
    char *model;
    bool json, help;
} inspect_options;

#define FIELD(name) offsetof(inspect_options, name)
static const lk_option options[] = {
    {.name = "model",
     .type = LK_OPTION_STRING,
     .offset = FIELD(model),
     .optional = true,
     .help = "list what this model would load from the file, and what not ('lockstep models' lists them)"},
    {.name = "json", .type = LK_OPTION_BOOL, .offset = FIELD(json), .default_text = "false", .help = "one JSON object"},
    LK_COMMAND_HELP(FIELD(help)),
};

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

static lk_status inspect_dataset(const char *path, bool json, lk_error *err) {
    lk_dataset *dataset;
    LK_RETURN_IF(lk_dataset_open(&dataset, path, err));
    lk_status status = lk_dataset_print(dataset, stdout, json, err);
    lk_dataset_free(dataset);
    return status;
}

/* The first bytes tell what it claims to be; its reader tells whether it is. */
static lk_status inspect(const char *path, bool json, lk_error *err) {
    char magic[9] = "";
    bool weights = false;
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    size_t size = fread(magic, 1, 8, file);
    fclose(file);
    if (size == 8 && memcmp(magic, "LKCKPT01", 8) == 0) return lk_inspect_checkpoint(path, json, err);
    LK_RETURN_IF(lk_inspect_is_weights(&weights, path, err));
    if (weights) return lk_inspect_weights(path, json, err);
    if (ends_with(path, ".safetensors") || ends_with(path, ".onnx")) return lk_inspect_export(path, json, err);
    if (size == 8 && memcmp(magic, "\211HDF\r\n\032\n", 8) == 0) return inspect_dataset(path, json, err);
    return lk_fail(err, LK_ERR_DATA,
                   "%s is neither a data set nor a trained model of this program, or its first bytes are damaged",
                   path);
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    const inspect_options *given = flags;
    (void)count;
    if (given->model != NULL) return lk_inspect_match(arguments[0], given->model, err);
    return inspect(arguments[0], given->json, err);
}

const lk_command lk_command_inspect = {
    .synopsis = "inspect FILE [options]",
    .about =
        "Describes a data set (.h5), a checkpoint (.h5), an export (.safetensors, .onnx), or weights that other\n"
        "programs wrote (.pth, .safetensors). Every byte of a checkpoint is checked against its hash first.",
    LK_COMMAND_OPTIONS(options, inspect_options),
    .least = 1,
    .most = 1,
    .wrong = "inspect takes one FILE: lockstep inspect FILE",
    .run = run};
