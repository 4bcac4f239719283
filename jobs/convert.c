/* lockstep convert: a checkpoint as safetensors or ONNX, safetensors back as a checkpoint, and weights of other
 * programs as any of them. */
#include "jobs/convert.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "jobs/command.h"
#include "train/export.h"

typedef struct convert_options {
    lk_convert_import import;
    bool uint8, decision, force, json, help;
} convert_options;

#define FIELD(name) offsetof(convert_options, name)
static const lk_option options[] = {
    {.name = "model",
     .type = LK_OPTION_STRING,
     .offset = FIELD(import.model),
     .optional = true,
     .help = "IN holds bare weights (.pth, .safetensors) of this model ('lockstep models' lists them)"},
    {.name = "classes",
     .type = LK_OPTION_STRING,
     .offset = FIELD(import.classes),
     .optional = true,
     .help = "with --model: text file of class names, one a line in the order of the logits; else they are 0, 1, ..."},
    {.name = "size",
     .type = LK_OPTION_INT,
     .offset = FIELD(import.size),
     .default_text = "0",
     .max = 4096,
     .help = "with --model: input height and width, pixels; 0: that of the published weights"},
    {.name = "resize-size",
     .type = LK_OPTION_INT,
     .offset = FIELD(import.resize_size),
     .default_text = "0",
     .max = 16384,
     .help = "with --model: short side before the centre crop; 0: as the published weights, in proportion to the size"},
    {.name = "interpolation",
     .type = LK_OPTION_CHOICE,
     .offset = FIELD(import.interpolation),
     .default_text = "published",
     .choices = lk_convert_interpolations,
     .help = "with --model: of the resize"},
    {.name = "mean",
     .type = LK_OPTION_DOUBLES,
     .offset = FIELD(import.mean),
     .count_offset = FIELD(import.mean_count),
     .default_text = "0, 0, 0",
     .min = -10,
     .max = 10,
     .help = "with --model: of pixels / 255, three numbers, and --std; all 0: the published ones"},
    {.name = "std",
     .type = LK_OPTION_DOUBLES,
     .offset = FIELD(import.std),
     .count_offset = FIELD(import.std_count),
     .default_text = "0, 0, 0",
     .max = 10,
     .help = "with --model: of pixels / 255, three numbers above 0, and --mean"},
    {.name = "uint8",
     .type = LK_OPTION_BOOL,
     .offset = FIELD(uint8),
     .default_text = "false",
     .help = "ONNX: the input is uint8 pixels [batch, height, width, channels] and the graph normalises them"},
    {.name = "decision",
     .type = LK_OPTION_BOOL,
     .offset = FIELD(decision),
     .default_text = "false",
     .help = "fold the decision layer that 'lockstep calibrate' made into the last layer's weight and bias"},
    {.name = "force",
     .type = LK_OPTION_BOOL,
     .offset = FIELD(force),
     .default_text = "false",
     .help = "replace OUT and OUT.json when they exist",
     .letter = 'f'},
    {.name = "json",
     .type = LK_OPTION_BOOL,
     .offset = FIELD(json),
     .default_text = "false",
     .help = "the result as JSON"},
    LK_COMMAND_HELP(FIELD(help)),
};

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

static lk_status parse_format(lk_model_format *out, const char *path, lk_error *err) {
    *out = LK_MODEL_CHECKPOINT;
    if (ends_with(path, ".h5")) return LK_OK;
    *out = LK_MODEL_SAFETENSORS;
    if (ends_with(path, ".safetensors")) return LK_OK;
    *out = LK_MODEL_ONNX;
    if (ends_with(path, ".onnx")) return LK_OK;
    return lk_fail(err, LK_ERR_USAGE, "cannot tell the format of %s: end it in .safetensors, .onnx or .h5", path);
}

static lk_status check_free(const char *path, bool force, lk_error *err) {
    struct stat info;
    if (force || lstat(path, &info) != 0) return LK_OK;
    return lk_fail(err, LK_ERR_IO, "%s exists and was left as it is; give --force to replace it", path);
}

static lk_status check_pair(lk_model_format in, lk_model_format out, bool changed, const char *in_path, lk_error *err) {
    if (in == LK_MODEL_ONNX)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "%s is ONNX, which is written but not converted from; convert the checkpoint it came from",
                       in_path);
    if (in == out && !changed)
        return lk_fail(err, LK_ERR_USAGE, "%s has the format that is asked for already; copy it instead", in_path);
    return LK_OK;
}

static lk_status write_model(const lk_model_file *file, lk_model_format format, bool pixels, const char *path,
                             lk_error *err) {
    switch (format) {
        case LK_MODEL_CHECKPOINT: return lk_export_checkpoint(file, path, err);
        case LK_MODEL_SAFETENSORS: return lk_export_safetensors(file, path, err);
        case LK_MODEL_ONNX: return lk_export_onnx(file, pixels, path, err);
        case LK_MODEL_TORCH: break;
    }
    return lk_fail(err, LK_ERR_INTERNAL, "unknown format of %s", path);
}

static lk_status convert(const char *in, const char *out, const convert_options *given, lk_error *err) {
    lk_model_file file = {0};
    lk_model_format format;
    char *beside = NULL, *summary = NULL;
    struct stat info = {0};
    lk_status status = LK_OK;
    LK_TRY(parse_format(&format, out, err));
    if (given->uint8 && format != LK_MODEL_ONNX) {
        status = lk_fail(err, LK_ERR_USAGE, "--uint8 is for ONNX, and %s is not", out);
        goto out;
    }
    LK_TRY(lk_format(&beside, err, "%s.json", out));
    LK_TRY(check_free(out, given->force, err));
    LK_TRY(check_free(beside, given->force, err));
    if (given->import.model != NULL) {
        LK_TRY(lk_convert_import_read(&file, &summary, in, &given->import, err));
        fprintf(stderr, "%s\n", summary);
    } else {
        LK_TRY(lk_model_file_open(&file, in, err));
    }
    LK_TRY(check_pair(file.format, format, given->import.model != NULL || given->decision, in, err));
    if (given->decision) LK_TRY(lk_model_file_fold_decision(&file, err));
    LK_TRY(write_model(&file, format, given->uint8, out, err));
    if (stat(out, &info) != 0) LK_TRY(lk_fail_errno(err, "examine", out));
    if (given->json)
        printf("{\"tensors\": %d, \"golden\": %lld, \"bytes\": %lld}\n", file.tensor_count,
               (long long)file.golden_count, (long long)info.st_size);
    else
        printf("wrote %s (%.1f MB: %s, %d tensors, %lld golden samples) and %s\n", out, (double)info.st_size / 1e6,
               file.meta.architecture, file.tensor_count, (long long)file.golden_count, beside);
out:
    lk_model_file_free(&file);
    lk_free(beside);
    lk_free(summary);
    return status;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    (void)count;
    return convert(arguments[0], arguments[1], flags, err);
}

const lk_command lk_command_convert = {
    .synopsis = "convert IN OUT [options]",
    .about =
        "Writes a trained model in another format, told by OUT's ending:\n"
        "  .safetensors  from a checkpoint: loads into the model of the same name in PyTorch\n"
        "  .onnx         from a checkpoint or safetensors: opset 17, dynamic batch; float32 input \"input\"\n"
        "                [batch, channels, height, width], normalised as OUT.json says; output \"logits\"\n"
        "  .h5           from safetensors that this program wrote: a checkpoint for eval and predict\n"
        "With --model, IN may be a PyTorch state dict (.pth) or safetensors of another program, with the names of\n"
        "torchvision, timm or efficientnet_pytorch; docs/weights.md says where there are some.\n"
        "The class names, the preprocessing and the golden samples go along; OUT.json describes the model.",
    LK_COMMAND_OPTIONS(options, convert_options),
    .least = 2,
    .most = 2,
    .wrong = "convert takes IN and OUT: lockstep convert IN OUT",
    .run = run};
