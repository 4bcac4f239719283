/* The parts of a run, shared by the trainer's own files. */
#ifndef LK_TRAIN_TRAINER_INTERNAL_H
#define LK_TRAIN_TRAINER_INTERNAL_H

#include "core/log.h"
#include "core/progress.h"
#include "dist/device_comm.h"
#include "dist/gpu_binding.h"
#include "train/bests.h"
#include "train/evaluate.h"
#include "train/loss.h"
#include "train/meta.h"
#include "train/trainer.h"
#include "train/training_set.h"
#include "train/update.h"
#include "train/window.h"

/* Golden samples of a run, on rank 0. */
typedef struct lk_golden_set {
    int64_t count;
    int64_t *samples;
    uint8_t *images;
    float *logits;
} lk_golden_set;

typedef struct lk_trainer {
    lk_comm *comm;                   /* borrowed */
    const lk_job *job;               /* borrowed */
    const lk_train_options *options; /* borrowed */
    lk_log log;
    int cores; /* that this rank can count on */

    lk_gpu_binding gpus; /* choices NULL: no GPUs */
    int near_cores;      /* that this rank's threads keep to, beside its GPU; 0: they go where they may */
    lk_device *device;
    lk_device_comm *device_comm; /* NULL: host memory, or one rank */
    lk_dataset *dataset;
    int64_t *class_counts; /* training samples of each class */
    lk_loss loss;
    lk_training_set samples;
    int64_t *test;
    int64_t test_count;
    lk_sampler *sampler;
    lk_loader *loader;
    lk_network *network;
    lk_optimizer *optimizer;
    lk_lanes *lanes;
    lk_window *window;
    lk_schedule schedule;
    lk_plateau plateau;
    lk_augment augment;
    int64_t updates_per_epoch; /* windows: some may be skipped */
    int64_t prefetched;        /* windows of the epoch that the loader was given */
    int64_t unique;            /* different samples of the epoch that ended last */

    lk_counters counters;
    lk_golden_set golden;
    char *meta_text, *job_text;
    lk_choices *recalled;           /* implementations that the checkpoint names, of the same arithmetic; NULL: none */
    char *choices_text;             /* lk_network_choices */
    char *init_summary, *init_list; /* what of the weights of `init` was loaded; NULL: none */
    lk_run_folder folder;           /* rank 0 */
    char *checkpoints;              /* path of the checkpoints folder, all ranks */
    lk_snapshot snapshot;           /* views of the above */
    double last_saved;              /* lk_clock_seconds() */
    double last_update;             /* lk_clock_seconds() when the last update ended, or the epoch began */
    lk_progress progress;           /* rank 0 */
} lk_trainer;

/* trainer_setup.c: creates the parts in the order of the data flow. Collective. */
LK_MUST_CHECK lk_status lk_trainer_setup(lk_trainer *trainer, lk_error *err);
void lk_trainer_release(lk_trainer *trainer);

/* trainer_device.c: the device, on GPUs one for each rank; and what connects them, NULL where ranks reach the memory
 * themselves. Collective. */
LK_MUST_CHECK lk_status lk_trainer_open_device(lk_trainer *trainer, lk_error *err);
LK_MUST_CHECK lk_status lk_trainer_connect_devices(lk_trainer *trainer, lk_error *err);

/* trainer_fit.c: does what this many lanes need fit beside what is allocated? Not Collective. Errors: LK_ERR_MEMORY
 * naming the largest microbatch that would. */
LK_MUST_CHECK lk_status lk_trainer_check_memory(const lk_trainer *trainer, int lanes, lk_error *err);

/* trainer_init.c: the weights of `init` into the network of a new run (Not Collective); are they the same on all ranks
 * (Collective); the list of what was loaded into the run's folder (rank 0). */
LK_MUST_CHECK lk_status lk_trainer_load_init(lk_trainer *trainer, lk_error *err);
LK_MUST_CHECK lk_status lk_trainer_check_init(lk_trainer *trainer, lk_error *err);
LK_MUST_CHECK lk_status lk_trainer_write_init(lk_trainer *trainer, lk_error *err);

/* trainer_choices.c: reads `recalled` where the run goes on (Not Collective); writes choices_text and compares it
 * between ranks (Collective). Errors: LK_ERR_DATA for a list that is none; LK_ERR_CONFIG naming the first layer for
 * which a rank chose otherwise than rank 0. */
LK_MUST_CHECK lk_status lk_trainer_recall_choices(lk_trainer *trainer, lk_error *err);
LK_MUST_CHECK lk_status lk_trainer_check_choices(lk_trainer *trainer, lk_error *err);

/* trainer_resume.c: opens the run's folder, restores the state where there is one. Collective. */
LK_MUST_CHECK lk_status lk_trainer_open_run(lk_trainer *trainer, lk_error *err);

/* trainer_golden.c: takes the golden samples, computes their logits from the current parameters, saves a checkpoint.
 * Rank 0 alone works; a failed write is said loudly and the run goes on (P12), unless `must`; *saved tells (true on the
 * other ranks). Not Collective. */
LK_MUST_CHECK lk_status lk_trainer_take_golden(lk_trainer *trainer, lk_error *err);
LK_MUST_CHECK lk_status lk_trainer_save(lk_trainer *trainer, bool new_loss, bool new_f1, bool must, bool *saved,
                                        lk_error *err);

/* trainer_loop.c: the epochs that are left. Collective. */
LK_MUST_CHECK lk_status lk_trainer_run_epochs(lk_trainer *trainer, lk_error *err);

/* trainer_final.c: both bests on validation and test, predictions.h5. Collective. */
LK_MUST_CHECK lk_status lk_trainer_finish(lk_trainer *trainer, lk_error *err);

/* trainer_report.c: what people and scripts read; rank 0 writes, the others return at once. */
void lk_report_start(const lk_trainer *trainer);
LK_MUST_CHECK lk_status lk_report_run(lk_trainer *trainer, lk_error *err);
/* Seconds from the start of the command to the first forward pass. */
LK_MUST_CHECK lk_status lk_report_startup(lk_trainer *trainer, lk_error *err);
/* step: what the optimizer was given; loss_scale: 0 where there is none. */
LK_MUST_CHECK lk_status lk_report_update(lk_trainer *trainer, const lk_step *step, double loss_scale, double loss,
                                         double norm, double seconds, lk_error *err);
/* An update was skipped at this loss scale; why: what overflowed. */
LK_MUST_CHECK lk_status lk_report_skip(lk_trainer *trainer, double scale, const char *why, lk_error *err);
/* epoch: the counters with the sums of the epoch that ended. */
LK_MUST_CHECK lk_status lk_report_epoch(lk_trainer *trainer, const lk_counters *epoch, const lk_evaluation *evaluation,
                                        double lr, const uint64_t hash[2], bool new_loss, bool new_f1, lk_error *err);
/* Says that the plateau schedule lowered the rate from `before`. */
void lk_report_plateau(const lk_trainer *trainer, double before);
void lk_report_updates_done(const lk_trainer *trainer, const uint64_t hash[2]);
LK_MUST_CHECK lk_status lk_report_final(lk_trainer *trainer, const char *best, const char *split,
                                        const lk_evaluation *evaluation, lk_error *err);

#endif
