/* What other projects call the layers of this program's models: one table a project (weights_names.c). */
#ifndef LK_TRAIN_WEIGHTS_NAMES_H
#define LK_TRAIN_WEIGHTS_NAMES_H

#include "io/model/checkpoint.h"

/* A block of a model whose layers are called "blocks.STAGE.BLOCK...." (timm's families of EfficientNet). */
typedef struct lk_block_names {
    int stage, block;
    bool expands;  /* has a 1 x 1 convolution before the depthwise one */
    bool squeezes; /* has squeeze-and-excitation */
    bool single;   /* is one convolution and its BatchNorm */
} lk_block_names;

typedef struct lk_naming_context {
    lk_block_names *blocks; /* in the order of the network */
    int block_count, stage_count;
} lk_naming_context;

/* Finds the blocks in a model's own names. Owner: the caller, blocks with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_naming_context_create(lk_naming_context *out, const lk_named_tensor *own, int count,
                                                 lk_error *err);

/* Number of namings; 0 is the model's own. */
int lk_naming_count(void);
/* "own", "torchvision EfficientNet", ...; static. */
const char *lk_naming_name(int naming);
/* What a naming's project does otherwise than this program's model may. */
typedef struct lk_naming_habits {
    double eps; /* of its BatchNorms; 0: the model's own */
    bool same;  /* pads as TensorFlow's 'SAME' */
} lk_naming_habits;
lk_naming_habits lk_naming_get_habits(int naming);

/* A naming's word for a tensor ("blocks.1.0.conv_pw.weight"): into text, or false where the naming has none. */
bool lk_naming_translate(int naming, const lk_naming_context *context, const char *own, char *text, size_t size);

#endif
