#include "train/trainer.h"

#include "core/process.h"
#include "train/trainer_internal.h"

lk_status lk_train(lk_comm *comm, const lk_job *job, const lk_train_options *options, lk_error *err) {
    lk_status status;
    lk_trainer trainer = {.comm = comm,
                          .job = job,
                          .options = options,
                          .log = lk_log_create(stderr, comm->rank, comm->size),
                          .cores = options->topology->places[comm->rank].share};
    lk_process_memory_reset();
    LK_TRY(lk_trainer_setup(&trainer, err));
    LK_TRY(lk_trainer_open_run(&trainer, err));
    lk_report_start(&trainer);
    LK_TRY(lk_trainer_run_epochs(&trainer, err));
    /* Also for a run that was finished: it may have been killed before its last files were written. */
    LK_TRY(lk_trainer_finish(&trainer, err));
out:
    lk_trainer_release(&trainer);
    return status;
}
