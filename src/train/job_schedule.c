/* The learning-rate schedule that a job asks for. */
#include <math.h>
#include <string.h>

#include "train/job.h"

static bool has_length(int kind) {
    return kind == LK_SCHEDULE_COSINE || kind == LK_SCHEDULE_ONE_CYCLE || kind == LK_SCHEDULE_POLYNOMIAL;
}

bool lk_job_schedule_has_end(const lk_job *job) { return has_length(job->schedule.kind) && job->schedule.epochs == 0; }

static lk_status check_whole(const lk_job *job, const char *name, double epochs, lk_error *err) {
    if (job->schedule.per == LK_PER_UPDATE || epochs == floor(epochs)) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "schedule.%s is %g, but schedule.per=epoch changes the rate at whole epochs: round it, or set "
                   "schedule.per=update",
                   name, epochs);
}

static lk_status check_milestones(const lk_job *job, lk_error *err) {
    const double *at = job->schedule.milestones;
    int count = job->schedule.milestones_count;
    if (count < 1) return lk_fail(err, LK_ERR_CONFIG, "schedule.milestones is empty, but multistep needs one at least");
    for (int i = 0; i < count; i++) {
        LK_RETURN_IF(check_whole(job, "milestones", at[i], err));
        if (i > 0 && !(at[i] > at[i - 1]))
            return lk_fail(err, LK_ERR_CONFIG, "schedule.milestones must ascend: %g stands after %g", at[i], at[i - 1]);
    }
    return LK_OK;
}

static lk_status check_one_cycle(const lk_job *job, lk_error *err) {
    if (job->schedule.three_phase && job->schedule.pct_start > 0.5)
        return lk_fail(err, LK_ERR_CONFIG,
                       "schedule.pct_start is %g: with schedule.three_phase the rate falls as long as it rises, so at "
                       "most 0.5",
                       job->schedule.pct_start);
    bool adam = job->optimizer.kind == LK_OPTIMIZER_ADAM || job->optimizer.kind == LK_OPTIMIZER_ADAMW;
    if (job->schedule.cycle_momentum && !adam && job->optimizer.momentum == 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "schedule.cycle_momentum needs a momentum: set optimizer.momentum above 0 or "
                       "schedule.cycle_momentum=false");
    return LK_OK;
}

lk_status lk_job_check_schedule(const lk_job *job, lk_error *err) {
    int kind = job->schedule.kind;
    double run = (double)job->epochs;
    if (job->schedule.warmup_epochs > run)
        return lk_fail(err, LK_ERR_CONFIG, "schedule.warmup_epochs is %g, longer than the run of %lld epochs",
                       job->schedule.warmup_epochs, (long long)job->epochs);
    if (has_length(kind) && job->schedule.epochs > 0 && job->schedule.epochs < job->epochs)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the schedule ends before the run: schedule.epochs is %lld and epochs is %lld; make it as long, "
                       "or 0 for the run's length",
                       (long long)job->schedule.epochs, (long long)job->epochs);
    LK_RETURN_IF(check_whole(job, "warmup_epochs", job->schedule.warmup_epochs, err));
    if (kind == LK_SCHEDULE_STEP) return check_whole(job, "step_epochs", job->schedule.step_epochs, err);
    if (kind == LK_SCHEDULE_COSINE_RESTARTS)
        return check_whole(job, "restart_epochs", job->schedule.restart_epochs, err);
    if (kind == LK_SCHEDULE_MULTISTEP) return check_milestones(job, err);
    return kind == LK_SCHEDULE_ONE_CYCLE ? check_one_cycle(job, err) : LK_OK;
}

static int64_t to_ticks(double epochs, double ticks_per_epoch) {
    return (int64_t)floor(epochs * ticks_per_epoch + 0.5);
}

static int64_t at_least_one(int64_t ticks) { return ticks < 1 ? 1 : ticks; }

void lk_job_schedule(const lk_job *job, int64_t updates_per_epoch, lk_schedule *out) {
    bool by_epoch = job->schedule.per == LK_PER_EPOCH;
    double ticks = by_epoch ? 1.0 : (double)updates_per_epoch;
    memset(out, 0, sizeof *out);
    out->kind = (lk_schedule_kind)job->schedule.kind;
    out->lr = job->optimizer.lr;
    out->updates_per_tick = by_epoch ? updates_per_epoch : 1;
    out->warmup = to_ticks(job->schedule.warmup_epochs, ticks);
    out->warmup_factor = job->schedule.warmup_factor;
    int64_t epochs = job->schedule.epochs > 0 ? job->schedule.epochs : job->epochs;
    out->length = at_least_one(epochs * (by_epoch ? 1 : updates_per_epoch) - out->warmup);
    double period = out->kind == LK_SCHEDULE_STEP              ? job->schedule.step_epochs
                    : out->kind == LK_SCHEDULE_COSINE_RESTARTS ? job->schedule.restart_epochs
                                                               : 1;
    out->period = at_least_one(to_ticks(period, ticks));
    out->period_factor = job->schedule.restart_factor;
    out->gamma = job->schedule.gamma;
    out->eta_min = job->schedule.eta_min;
    out->power = job->schedule.power;
    out->milestone_count = job->schedule.milestones_count;
    for (int i = 0; i < out->milestone_count; i++) out->milestones[i] = to_ticks(job->schedule.milestones[i], ticks);
    out->cycle = (lk_one_cycle){.pct_start = job->schedule.pct_start,
                                .div_factor = job->schedule.div_factor,
                                .final_div_factor = job->schedule.final_div_factor,
                                .base_momentum = job->schedule.base_momentum,
                                .max_momentum = job->schedule.max_momentum,
                                .linear = job->schedule.anneal == 1,
                                .three_phase = job->schedule.three_phase,
                                .cycle_momentum = job->schedule.cycle_momentum};
}

void lk_job_plateau(const lk_job *job, lk_plateau *out) {
    *out = (lk_plateau){.larger_is_better = job->schedule.monitor == LK_MONITOR_F1,
                        .factor = job->schedule.factor,
                        .patience = job->schedule.patience,
                        .threshold = job->schedule.threshold,
                        .absolute = job->schedule.threshold_mode == 1,
                        .cooldown = job->schedule.cooldown,
                        .min_lr = job->schedule.min_lr,
                        .eps = job->schedule.eps};
}
