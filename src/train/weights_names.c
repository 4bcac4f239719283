#include "train/weights_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* Which blocks a row of a table is for: with a convolution that expands, without, of one convolution alone. */
typedef enum row_kind { ANY, EXPANDING, PLAIN, SINGLE } row_kind;

/* own: a layer of the model; in blocks, what follows "blocks.STAGE.BLOCK.". theirs: the same layer elsewhere, with
 * {stage} the number of the stage from 1, {block} of the block in its stage, {flat} in the network, {next} one more,
 * {last} of the stage behind the last, and {dw}, {se}, {project} the place of that part in its block. */
typedef struct row {
    const char *own;
    bool in_block;
    row_kind kind;
    const char *theirs;
} row;

/* Source: torchvision.models.efficientnet. */
static const row TORCHVISION_EFFICIENTNET[] = {
    {"conv_stem", false, ANY, "features.0.0"},
    {"bn1", false, ANY, "features.0.1"},
    {"conv_pw", true, EXPANDING, "features.{stage}.{block}.block.0.0"},
    {"bn1", true, EXPANDING, "features.{stage}.{block}.block.0.1"},
    {"conv_dw", true, ANY, "features.{stage}.{block}.block.{dw}.0"},
    {"bn2", true, EXPANDING, "features.{stage}.{block}.block.{dw}.1"},
    {"bn1", true, PLAIN, "features.{stage}.{block}.block.{dw}.1"},
    {"se.conv_reduce", true, ANY, "features.{stage}.{block}.block.{se}.fc1"},
    {"se.conv_expand", true, ANY, "features.{stage}.{block}.block.{se}.fc2"},
    {"conv_pwl", true, EXPANDING, "features.{stage}.{block}.block.{project}.0"},
    {"bn3", true, EXPANDING, "features.{stage}.{block}.block.{project}.1"},
    {"conv_pw", true, PLAIN, "features.{stage}.{block}.block.{project}.0"},
    {"bn2", true, PLAIN, "features.{stage}.{block}.block.{project}.1"},
    {"conv_head", false, ANY, "features.{last}.0"},
    {"bn2", false, ANY, "features.{last}.1"},
    {"classifier", false, ANY, "classifier.1"},
    {NULL, false, ANY, NULL},
};

/* Source: torchvision.models.mobilenetv3. */
static const row TORCHVISION_MOBILENET_V3[] = {
    {"conv_stem", false, ANY, "features.0.0"},
    {"bn1", false, ANY, "features.0.1"},
    {"conv_pw", true, EXPANDING, "features.{next}.block.0.0"},
    {"bn1", true, EXPANDING, "features.{next}.block.0.1"},
    {"conv_dw", true, ANY, "features.{next}.block.{dw}.0"},
    {"bn2", true, EXPANDING, "features.{next}.block.{dw}.1"},
    {"bn1", true, PLAIN, "features.{next}.block.{dw}.1"},
    {"se.conv_reduce", true, ANY, "features.{next}.block.{se}.fc1"},
    {"se.conv_expand", true, ANY, "features.{next}.block.{se}.fc2"},
    {"conv_pwl", true, EXPANDING, "features.{next}.block.{project}.0"},
    {"bn3", true, EXPANDING, "features.{next}.block.{project}.1"},
    {"conv_pw", true, PLAIN, "features.{next}.block.{project}.0"},
    {"bn2", true, PLAIN, "features.{next}.block.{project}.1"},
    {"conv", true, SINGLE, "features.{next}.0"},
    {"bn1", true, SINGLE, "features.{next}.1"},
    {"conv_head", false, ANY, "classifier.0"},
    {"classifier", false, ANY, "classifier.3"},
    {NULL, false, ANY, NULL},
};

/* Source: the packages efficientnet_pytorch and efficientnet_lite_pytorch. */
static const row EFFICIENTNET_PYTORCH[] = {
    {"conv_stem", false, ANY, "_conv_stem"},
    {"bn1", false, ANY, "_bn0"},
    {"conv_pw", true, EXPANDING, "_blocks.{flat}._expand_conv"},
    {"bn1", true, EXPANDING, "_blocks.{flat}._bn0"},
    {"conv_dw", true, ANY, "_blocks.{flat}._depthwise_conv"},
    {"bn2", true, EXPANDING, "_blocks.{flat}._bn1"},
    {"bn1", true, PLAIN, "_blocks.{flat}._bn1"},
    {"se.conv_reduce", true, ANY, "_blocks.{flat}._se_reduce"},
    {"se.conv_expand", true, ANY, "_blocks.{flat}._se_expand"},
    {"conv_pwl", true, EXPANDING, "_blocks.{flat}._project_conv"},
    {"bn3", true, EXPANDING, "_blocks.{flat}._bn2"},
    {"conv_pw", true, PLAIN, "_blocks.{flat}._project_conv"},
    {"bn2", true, PLAIN, "_blocks.{flat}._bn2"},
    {"conv_head", false, ANY, "_conv_head"},
    {"bn2", false, ANY, "_bn1"},
    {"classifier", false, ANY, "_fc"},
    {NULL, false, ANY, NULL},
};

static const struct {
    const char *name;
    const row *rows; /* up to a NULL; NULL: the model's own names (timm's, torchvision's for ResNet) */
    lk_naming_habits habits;
} NAMINGS[] = {
    {"own", NULL, {0, false}},
    {"torchvision EfficientNet", TORCHVISION_EFFICIENTNET, {1e-5, false}},
    {"torchvision MobileNetV3", TORCHVISION_MOBILENET_V3, {1e-3, false}},
    {"efficientnet_pytorch", EFFICIENTNET_PYTORCH, {1e-3, true}},
};

lk_naming_habits lk_naming_get_habits(int naming) { return NAMINGS[naming].habits; }

int lk_naming_count(void) { return (int)(sizeof NAMINGS / sizeof NAMINGS[0]); }

const char *lk_naming_name(int naming) { return NAMINGS[naming].name; }

/* Reads "blocks.S.B." from a name; the part behind it, or NULL. */
static const char *split_block(const char *name, int *stage, int *block) {
    static const char group[] = "blocks.";
    if (strncmp(name, group, sizeof group - 1) != 0) return NULL;
    char *end;
    *stage = (int)strtol(name + sizeof group - 1, &end, 10);
    if (*end != '.') return NULL;
    *block = (int)strtol(end + 1, &end, 10);
    return *end == '.' ? end + 1 : NULL;
}

lk_status lk_naming_context_create(lk_naming_context *out, const lk_named_tensor *own, int count, lk_error *err) {
    *out = (lk_naming_context){0};
    LK_RETURN_IF(LK_NEW(&out->blocks, count, "the blocks of a model", err));
    for (int i = 0; i < count; i++) {
        int stage, block;
        const char *part = split_block(own[i].name, &stage, &block);
        if (part == NULL) continue;
        int known = out->block_count;
        if (known == 0 || out->blocks[known - 1].stage != stage || out->blocks[known - 1].block != block)
            out->blocks[out->block_count++] = (lk_block_names){.stage = stage, .block = block};
        lk_block_names *last = &out->blocks[out->block_count - 1];
        if (strncmp(part, "conv_pwl.", 9) == 0) last->expands = true;
        if (strncmp(part, "se.", 3) == 0) last->squeezes = true;
        if (strncmp(part, "conv.", 5) == 0) last->single = true;
        if (stage + 1 > out->stage_count) out->stage_count = stage + 1;
    }
    return LK_OK;
}

/* Value of "{word}" or -1. */
static int word_value(const char *word, size_t length, const lk_naming_context *c, int flat) {
    const lk_block_names none = {0}, *b = flat >= 0 ? &c->blocks[flat] : &none;
    int dw = b->expands ? 1 : 0, project = dw + 1 + (b->squeezes ? 1 : 0);
    const struct {
        const char *word;
        int value;
    } words[] = {{"stage", b->stage + 1},      {"block", b->block}, {"flat", flat}, {"next", flat + 1},
                 {"last", c->stage_count + 1}, {"dw", dw},          {"se", dw + 1}, {"project", project}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0) return words[i].value;
    return -1;
}

static void expand(const char *pattern, const lk_naming_context *c, int flat, char *text, size_t size) {
    size_t used = 0;
    while (*pattern != '\0' && used + 1 < size) {
        const char *end = *pattern == '{' ? strchr(pattern, '}') : NULL;
        if (end == NULL) {
            text[used++] = *pattern++;
            continue;
        }
        int value = word_value(pattern + 1, (size_t)(end - pattern - 1), c, flat);
        int length = snprintf(text + used, size - used, "%d", value);
        used += (size_t)length < size - used ? (size_t)length : size - used - 1;
        pattern = end + 1;
    }
    text[used] = '\0';
}

static int find_block(const lk_naming_context *c, int stage, int block) {
    for (int i = 0; i < c->block_count; i++)
        if (c->blocks[i].stage == stage && c->blocks[i].block == block) return i;
    return -1;
}

static row_kind block_kind(const lk_block_names *block) {
    return block->single ? SINGLE : block->expands ? EXPANDING : PLAIN;
}

bool lk_naming_translate(int naming, const lk_naming_context *c, const char *own, char *text, size_t size) {
    const row *rows = NAMINGS[naming].rows;
    if (rows == NULL) {
        snprintf(text, size, "%s", own);
        return true;
    }
    int stage, block, flat = -1;
    const char *part = split_block(own, &stage, &block), *layer = part == NULL ? own : part;
    const char *leaf = strrchr(layer, '.');
    if (leaf == NULL) return false;
    if (part != NULL) flat = find_block(c, stage, block);
    size_t length = (size_t)(leaf - layer);
    for (; rows->own != NULL; rows++) {
        if (rows->in_block != (flat >= 0) || strlen(rows->own) != length || memcmp(rows->own, layer, length) != 0)
            continue;
        if (rows->kind != ANY && rows->kind != block_kind(&c->blocks[flat])) continue;
        expand(rows->theirs, c, flat, text, size);
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s", leaf);
        return true;
    }
    return false;
}
