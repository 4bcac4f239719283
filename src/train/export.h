/* Writes a trained model as safetensors, ONNX or a checkpoint that holds the model alone. Each export carries the meta
 * (P24) and the golden samples (P25), and has a JSON file beside it. */
#ifndef LK_TRAIN_EXPORT_H
#define LK_TRAIN_EXPORT_H

#include "io/model/onnx.h"
#include "train/inference_file.h"

/* state_dict names, __metadata__ "meta" and "golden". Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_export_safetensors(const lk_model_file *file, const char *path, lk_error *err);
/* pixels: the input is uint8 [batch, H, W, C] called "pixels" and the graph normalises it; otherwise it is float32
 * [batch, C, H, W] called "input", normalised by the caller. Output: float32 [batch, K] "logits". Opset 17.
 * Errors: LK_ERR_UNSUPPORTED for a layer that has no ONNX form here; LK_ERR_IO; LK_ERR_DATA above 2 GiB. */
LK_MUST_CHECK lk_status lk_export_onnx(const lk_model_file *file, bool pixels, const char *path, lk_error *err);
/* Tensors "/model/..." and "/golden/...", text "meta", and "job" and "arithmetic" where the file has them: enough for
 * eval, predict and verify, not for resuming. */
LK_MUST_CHECK lk_status lk_export_checkpoint(const lk_model_file *file, const char *path, lk_error *err);

/* export_decision.c: the model with this decision layer in its meta; the weights stay. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_file_set_decision(lk_model_file *file, const lk_decision *decision, lk_error *err);
/* Moves the decision layer of the meta into the last layer, weight / temperature and bias / temperature + offset, and
 * into the golden logits, so that every program that runs the model decides by it. Errors: LK_ERR_CONFIG where there is
 * none or it is folded already; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_file_fold_decision(lk_model_file *file, lk_error *err);

/* The ONNX graph of a model with its weights, without metadata. Owner: the caller, with lk_onnx_free. */
LK_MUST_CHECK lk_status lk_export_onnx_graph(lk_onnx **out, const lk_graph *graph, const lk_named_tensor *tensors,
                                             int tensor_count, bool pixels, lk_error *err);

/* The golden samples as one JSON text: count, pixels and logits in base64, sample numbers; NULL for none.
 * Owner of *text: the caller, with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_golden_print(char **text, const lk_model_file *file, lk_error *err);
/* Back from that text, for the shape that file->graph says. Errors: LK_ERR_DATA, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_golden_parse(lk_model_file *file, const char *text, const char *where, lk_error *err);

#endif
