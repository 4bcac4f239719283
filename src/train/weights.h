/* Weights that a run begins with (job key `init`) or that a conversion takes: the tensors of a file matched with those
 * of a model, whatever names the file has. */
#ifndef LK_TRAIN_WEIGHTS_H
#define LK_TRAIN_WEIGHTS_H

#include <stdio.h>

#include "io/image/transform.h"
#include "nn/model.h"
#include "train/inference_source.h"

/* What became of one tensor of the model. */
typedef enum lk_weights_fate {
    LK_WEIGHTS_LOADED,
    LK_WEIGHTS_FRESH,  /* the classifier where the classes differ: keeps its initialisation */
    LK_WEIGHTS_MISSING /* the file lacks it: keeps its initialisation */
} lk_weights_fate;

typedef struct lk_weights_tensor {
    lk_weights_fate fate;
    int source;   /* LOADED: index among the file's tensors */
    double shift; /* added to a running variance: their BatchNorm's eps minus ours, where that is positive */
} lk_weights_tensor;

typedef struct lk_weights {
    lk_model_source source;
    lk_meta meta; /* of this program's files; architecture NULL: the file says nothing about itself */
    char *architecture;
    char prefix[64];          /* that all names of the file have: "module." */
    int naming;               /* whose names they are (weights_names.h) */
    int tensor_count;         /* of the model: parameters and running statistics */
    lk_named_tensor *tensors; /* data NULL */
    lk_weights_tensor *fates; /* one a tensor */
    bool *used;               /* one for each tensor of the file */
    int loaded, fresh, missing, unused;
    bool other_padding;   /* the file's model pads as TensorFlow, this one does not: the logits differ */
    bool other_eps;       /* its BatchNorms have a smaller eps, which no variance can make up for: the same */
    int64_t file_classes; /* rows of the file's classifier; 0: it has none */
} lk_weights;

/* Opens a file and matches it with `architecture` for these classes (names in the order of the logits; NULL: take the
 * file's classifier whatever its classes, as long as its shape fits). graph: of that model, read now only.
 * Owner: the caller, with lk_weights_close. Errors: those of lk_model_source_open; LK_ERR_DATA where fewer than 90% of
 * the model's names are in the file, or a shape differs (naming the tensor). */
LK_MUST_CHECK lk_status lk_weights_open(lk_weights *out, const char *path, const char *architecture,
                                        const lk_graph *graph, char *const *class_names, lk_error *err);
/* The same by names alone, whatever the shapes. */
LK_MUST_CHECK lk_status lk_weights_match(lk_weights *out, const char *path, const char *architecture,
                                         const lk_graph *graph, char *const *class_names, lk_error *err);
void lk_weights_close(lk_weights *weights); /* frees the content, not the struct */

/* Tensor i (LOADED) as float32 in state_dict layout. Errors: those of lk_model_source_read. */
LK_MUST_CHECK lk_status lk_weights_read(const lk_weights *weights, int i, float *into, lk_error *err);

/* One line on what was loaded; owner of *text: the caller, with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_weights_summary(char **text, const lk_weights *weights, lk_error *err);
/* Every tensor of the model and every unused one of the file, a line each. */
void lk_weights_list(const lk_weights *weights, FILE *out);

/* The short side before the crop at another input size, in the proportion of the weights; rounded down. Pure. */
int64_t lk_weights_resize_size(int64_t resize_size, int64_t size, int64_t other_size);

/* What the published weights of a model with these names were made for; false where none are. Pure. */
bool lk_weights_published(lk_preprocess *out, int naming, const char *architecture);

#endif
