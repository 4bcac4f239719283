/* A job: what is computed (docs: `lockstep train --help`). The launch says who computes it. */
#ifndef LK_TRAIN_JOB_H
#define LK_TRAIN_JOB_H

#include "core/options.h"
#include "core/tensor.h"
#include "io/image/transform.h"
#include "nn/model.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/plateau.h"
#include "optim/schedule.h"

#define LK_JOB_VERSION 1

typedef enum lk_monitor { LK_MONITOR_F1, LK_MONITOR_LOSS } lk_monitor;
typedef enum lk_schedule_per { LK_PER_UPDATE, LK_PER_EPOCH } lk_schedule_per; /* when the rate changes */

typedef enum lk_cuda_graphs { LK_GRAPHS_AUTO, LK_GRAPHS_OFF } lk_cuda_graphs;
typedef enum lk_reduce_order { LK_REDUCE_TREE, LK_REDUCE_RING } lk_reduce_order;

typedef struct lk_job {
    int64_t version;
    char *data;   /* packed data set */
    char *model;  /* a name of lk_models */
    char *init;   /* weights that training begins with; NULL: random ones */
    char *base;   /* of a job file only: the file that this one changes; NULL once it is read */
    char *device; /* "auto", "cpu", "cuda", "reference" */
    int compute;  /* 0 float32, 1 bfloat16, 2 tf32, 3 float16 */

    int64_t epochs, max_updates; /* max_updates 0: no limit */
    int64_t batch, microbatch;   /* samples per update, per microbatch; microbatch 0: batch / 4 */
    int64_t threads_per_microbatch;
    int64_t seed;
    bool drop_last;
    int64_t max_ranks;      /* R: leaves of the tree of gradients, each a chain of m / R microbatches; 0: m */
    int reduce;             /* lk_reduce_order */
    int recompute;          /* lk_recompute */
    int cuda_graphs;        /* lk_cuda_graphs */
    int64_t sync_batchnorm; /* leaves that normalise together; 0 or 1: each alone */

    struct {
        double dropout, drop_path; /* -1: the model's published rates */
        double bn_momentum;        /* 0: the model's own */
    } network;

    struct {
        int64_t size;
        int channels; /* 0: 3 (RGB), 1: 1 (grey) */
        int resize;   /* lk_resize_rule */
        int64_t resize_size;
        int interpolation; /* lk_interpolation */
        int decode;        /* 0 exact, 1 scaled */
        double mean[LK_OPTION_MAX_LIST], std[LK_OPTION_MAX_LIST];
        int mean_count, std_count;
    } input;

    struct {
        int crop; /* lk_crop_rule */
        double scale[LK_OPTION_MAX_LIST], ratio[LK_OPTION_MAX_LIST];
        int scale_count, ratio_count;
        int64_t pad;
        double hflip, vflip, rotate;
        int policy; /* lk_policy */
        int64_t policy_ops, policy_magnitude, policy_bins;
        int interpolation; /* 0 nearest, 1 bilinear */
        double fill[LK_OPTION_MAX_LIST];
        int fill_count;
        double jitter, brightness, contrast, saturation, hue, grayscale;
        double blur, blur_sigma[LK_OPTION_MAX_LIST];
        int blur_sigma_count;
        int64_t blur_kernel;
        double noise, noise_sigma;
        double erase, erase_scale[LK_OPTION_MAX_LIST], erase_ratio[LK_OPTION_MAX_LIST];
        int erase_scale_count, erase_ratio_count;
        int erase_fill; /* lk_erase_fill */
    } augment;

    struct {
        double mixup, cutmix, prob, cutmix_share;
    } mix;

    struct {
        int kind; /* lk_sampler_kind */
        double weights[LK_OPTION_LONG_LIST];
        int weights_count;
        int64_t draws, repeats;
    } sampler;

    int64_t folds, fold; /* folds 0: the data set's own validation split; fold 1 .. folds validates */
    int64_t fold_seed;

    struct {
        double cross_entropy, focal, f1; /* factors of the terms */
        double smoothing;
        int smoothing_rule; /* lk_smoothing_rule */
        double focal_gamma;
        double focal_alpha[LK_OPTION_LONG_LIST];
        int focal_alpha_count;
        int f1_counts; /* 0 window, 1 per_microbatch */
        double f1_epsilon;
        int weighting; /* lk_weighting */
        double class_weights[LK_OPTION_LONG_LIST];
        int class_weights_count;
        double effective_beta, logit_adjustment;
    } loss;

    struct {
        int kind; /* lk_optimizer_kind */
        double lr, momentum, dampening, weight_decay;
        bool nesterov, decay_norm_and_bias;
        double beta1, beta2, alpha, epsilon;
        bool centered, epsilon_inside_sqrt;
        double clip_norm, clip_value; /* 0: none */
        double layer_decay;           /* 1: none */
        char *no_decay;               /* patterns */
    } optimizer;

    struct {
        int kind;       /* 0 auto (dynamic with float16), 1 dynamic, 2 none */
        double initial; /* a power of two */
        int64_t growth_interval;
    } loss_scale;

    struct {
        char *names;    /* patterns */
        bool batchnorm; /* frozen BatchNorm layers keep their running statistics */
    } freeze;

    struct {
        double decay; /* 0: no average */
        bool warmup;
        double warmup_gamma, warmup_power;
    } ema;

    struct {
        int kind;       /* lk_schedule_kind */
        int per;        /* lk_schedule_per */
        int64_t epochs; /* length, warm-up included; 0: the run's */
        double step_epochs, gamma, warmup_epochs, warmup_factor, eta_min;
        double milestones[LK_OPTION_MAX_LIST]; /* epochs */
        int milestones_count;
        double restart_epochs;
        int64_t restart_factor;
        double power;
        double pct_start, div_factor, final_div_factor, base_momentum, max_momentum;
        int anneal; /* 0 cosine, 1 linear */
        bool three_phase, cycle_momentum;
        int monitor; /* lk_monitor */
        double factor, threshold, min_lr, eps;
        int64_t patience, cooldown;
        int threshold_mode; /* 0 relative, 1 absolute */
    } schedule;

    struct {
        int64_t batch; /* 0: microbatch */
    } evaluate;

    struct {
        int64_t keep_best, every;
        double minutes;
        int64_t golden;
    } checkpoint;

    struct {
        int64_t patience; /* epochs without a new best; 0: never */
        int monitor;      /* lk_monitor */
    } early_stop;

    struct {
        int64_t workers, prefetch; /* workers 0: one per core of the rank */
    } loader;
} lk_job;

/* What `init` made of a job, for people; not a key. Texts NULL: nothing to say. */
typedef struct lk_job_notes {
    char *preprocess; /* which input.* keys the weights have set */
    char *warning;    /* which input.* keys of the job contradict them */
} lk_job_notes;
void lk_job_notes_free(lk_job_notes *notes); /* frees the content, not the struct */

/* The table of every key (job_options.c). Static. */
const lk_option *lk_job_options(int *count);

/* Reads PATH behind the files that `base` names, then KEY=VALUE overrides (overrides[0..count)), fills what is left
 * with what the weights of `init` want and with defaults, and checks what one key cannot tell alone. Owner: the caller,
 * with lk_job_free (which frees the content, not the struct). Errors: LK_ERR_IO; LK_ERR_CONFIG with file and line;
 * LK_ERR_DATA from the weights; LK_ERR_MEMORY. Not Collective. */
LK_MUST_CHECK lk_status lk_job_read(lk_job *job, const char *path, char *const *overrides, int count, lk_error *err);
/* The same for a run that goes on. stored: the run's own job.yaml, which stands in for the file of `init`; NULL: a new
 * run. notes (lk_job_notes_free, on failure too) may be NULL. */
LK_MUST_CHECK lk_status lk_job_read_run(lk_job *job, lk_job_notes *notes, const char *path, char *const *overrides,
                                        int count, const char *stored, lk_error *err);
/* The same from a stored text (a checkpoint's "job"); where: its name in messages. */
LK_MUST_CHECK lk_status lk_job_parse(lk_job *job, const char *text, const char *where, lk_error *err);
void lk_job_free(lk_job *job);

/* The resolved job as YAML. Owner of *text: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_job_write(const lk_job *job, char **text, lk_error *err);

/* A resumed run must compute the same: fails naming the first key that differs and changes results. Keys of the launch
 * (data path, loader.*, checkpoint.*, max_updates) may differ; epochs may grow only where the schedule does not depend
 * on it. */
LK_MUST_CHECK lk_status lk_job_check_resume(const lk_job *stored, const lk_job *now, lk_error *err);
/* The same as a question. text: "'batch' is 64 in the job but 32 in the run", of the first key. */
bool lk_job_changed(const lk_job *stored, const lk_job *now, char *text, size_t size);

/* What the keys of augment and mix cannot tell alone. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_job_check_augment(const lk_job *job, lk_error *err);

/* The same of sampler and folds. */
LK_MUST_CHECK lk_status lk_job_check_sampler(const lk_job *job, lk_error *err);

/* Views of the job that other parts take. Pure. */
int lk_job_leaves(const lk_job *job); /* m = batch / microbatch */
int lk_job_chain(const lk_job *job);  /* microbatches whose gradients are added from left to right: m / max_ranks */
lk_dtype lk_job_compute(const lk_job *job); /* LK_TF32 among them */
bool lk_job_scales_loss(const lk_job *job);
void lk_job_preprocess(const lk_job *job, lk_preprocess *out);
void lk_job_augment(const lk_job *job, lk_augment *out);
void lk_job_model_spec(const lk_job *job, int64_t classes, lk_model_spec *out);
void lk_job_optimizer(const lk_job *job, lk_optimizer_config *out);
void lk_job_schedule(const lk_job *job, int64_t updates_per_epoch, lk_schedule *out);
void lk_job_ema(const lk_job *job, lk_ema *out);
void lk_job_plateau(const lk_job *job, lk_plateau *out);

/* What one key of optimizer.* or freeze.* cannot tell alone; part of lk_job_read. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_job_check_optimizer(const lk_job *job, lk_error *err);
/* Does a longer run have other rates? Pure. */
bool lk_job_schedule_has_end(const lk_job *job);
/* What one key of schedule.* cannot tell alone; part of lk_job_read. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_job_check_schedule(const lk_job *job, lk_error *err);

#endif
