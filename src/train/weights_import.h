/* Published weights as a whole model of this program: what convert needs to make a checkpoint of a .pth. */
#ifndef LK_TRAIN_WEIGHTS_IMPORT_H
#define LK_TRAIN_WEIGHTS_IMPORT_H

#include "train/inference_file.h"
#include "train/weights.h"

/* The graph of `architecture` for this preprocessing (NULL: its native size) with as many classes as the file's
 * classifier has. Owner: the caller, with lk_graph_free. Errors: those of lk_weights_open and lk_model_build;
 * LK_ERR_DATA for a file without a classifier. */
LK_MUST_CHECK lk_status lk_weights_graph(lk_graph **out, const char *path, const char *architecture,
                                         const lk_preprocess *preprocess, lk_error *err);

/* What the weights were made for: the file's own description, or that of the published weights with these names. Where
 * neither is there, *known is false. Errors: those of lk_weights_open. */
LK_MUST_CHECK lk_status lk_weights_preprocess(lk_preprocess *out, bool *known, const char *path,
                                              const char *architecture, lk_error *err);

typedef struct lk_import_options {
    const char *architecture;
    const lk_preprocess *preprocess;
    char *const *class_names; /* in the order of the logits; NULL: "0", "1", ... */
    int class_count;          /* names given; 0: none */
} lk_import_options;

/* A model with the file's weights, the class names and the preprocessing; its golden samples are pictures made by a
 * formula (sample numbers -1), their logits computed on the cpu device. *summary (lk_free): one line on what was
 * loaded. Owner: the caller, with lk_model_file_free. Errors: those of lk_weights_open; LK_ERR_DATA where a tensor is
 * missing or the number of names is not that of the classes. */
LK_MUST_CHECK lk_status lk_weights_import(lk_model_file *out, char **summary, const char *path,
                                          const lk_import_options *options, lk_error *err);

/* Class names from a text file, one a line. Owner: the caller, each and the list with lk_free.
 * Errors: LK_ERR_IO; LK_ERR_DATA: an empty line, a name twice or not UTF-8, too many; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_class_names_read(char ***out, int *count, const char *path, lk_error *err);
void lk_class_names_free(char **names, int count);

#endif
