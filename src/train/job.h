/* A job: what is computed (docs: `lockstep train --help`). The launch says who computes it. */
#ifndef LK_TRAIN_JOB_H
#define LK_TRAIN_JOB_H

#include "core/options.h"
#include "core/tensor.h"
#include "io/image/transform.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

#define LK_JOB_VERSION 1

typedef enum lk_monitor { LK_MONITOR_F1, LK_MONITOR_LOSS } lk_monitor;

typedef struct lk_job {
    int64_t version;
    char *data;   /* packed data set */
    char *model;  /* a name of lk_models */
    char *device; /* "auto", "cpu", "reference" */
    int compute;  /* 0 float32, 1 bfloat16 */

    int64_t epochs, max_updates; /* max_updates 0: no limit */
    int64_t batch, microbatch;   /* samples per update, per microbatch; microbatch 0: batch / 4 */
    int64_t threads_per_microbatch;
    int64_t seed;
    bool drop_last;

    /* input.* */
    int64_t input_size;
    int input_channels; /* 0: 3 (RGB), 1: 1 (grey) */
    int input_resize;   /* lk_resize_rule */
    int64_t input_resize_size;
    int input_interpolation; /* lk_interpolation */
    int input_decode;        /* 0 exact, 1 scaled */
    double input_mean[LK_OPTION_MAX_LIST], input_std[LK_OPTION_MAX_LIST];
    int input_mean_count, input_std_count;

    /* augment.* */
    int augment_crop; /* lk_crop_rule */
    double augment_scale[LK_OPTION_MAX_LIST], augment_ratio[LK_OPTION_MAX_LIST];
    int augment_scale_count, augment_ratio_count;
    int64_t augment_pad;
    double augment_hflip;

    /* loss.*, optimizer.*, schedule.* */
    double loss_smoothing;
    double optimizer_lr, optimizer_momentum, optimizer_dampening, optimizer_weight_decay;
    bool optimizer_nesterov, optimizer_decay_norm_and_bias;
    int schedule_kind; /* lk_schedule_kind */
    double schedule_step_epochs, schedule_gamma, schedule_warmup_epochs, schedule_warmup_factor, schedule_eta_min;

    /* evaluate.*, checkpoint.*, early_stop.* */
    int64_t evaluate_batch; /* 0: microbatch */
    int64_t checkpoint_keep_best, checkpoint_every;
    double checkpoint_minutes;
    int64_t checkpoint_golden;
    int64_t early_stop_patience; /* epochs without a new best; 0: never */
    int early_stop_monitor;      /* lk_monitor */

    int64_t loader_workers, loader_prefetch; /* workers 0: one per core of the rank */
} lk_job;

/* The table of every key. Static. */
const lk_option *lk_job_options(int *count);

/* Reads PATH, then KEY=VALUE overrides (overrides[0..count)), fills what is left with defaults and checks what one key
 * cannot tell alone. Owner: the caller, with lk_job_free (which frees the content, not the struct).
 * Errors: LK_ERR_IO; LK_ERR_CONFIG with file and line; LK_ERR_MEMORY. Not Collective. */
LK_MUST_CHECK lk_status lk_job_read(lk_job *job, const char *path, char *const *overrides, int count, lk_error *err);
/* The same from a stored text (a checkpoint's "job"); where: its name in messages. */
LK_MUST_CHECK lk_status lk_job_parse(lk_job *job, const char *text, const char *where, lk_error *err);
void lk_job_free(lk_job *job);

/* The resolved job as YAML. Owner of *text: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_job_write(const lk_job *job, char **text, lk_error *err);

/* A resumed run must compute the same: fails naming the first key that differs and changes results. Keys of the launch
 * (data path, loader.*, checkpoint.*, max_updates) may differ; epochs may grow only where the schedule does not depend
 * on it. */
LK_MUST_CHECK lk_status lk_job_check_resume(const lk_job *stored, const lk_job *now, lk_error *err);

/* Views of the job that other parts take. Pure. */
int lk_job_leaves(const lk_job *job); /* m = batch / microbatch */
lk_dtype lk_job_compute(const lk_job *job);
void lk_job_preprocess(const lk_job *job, lk_preprocess *out);
void lk_job_augment(const lk_job *job, lk_augment *out);
void lk_job_model_spec(const lk_job *job, int64_t classes, lk_model_spec *out);
void lk_job_optimizer(const lk_job *job, lk_optimizer_config *out);
void lk_job_schedule(const lk_job *job, int64_t updates_per_epoch, lk_schedule *out);

#endif
