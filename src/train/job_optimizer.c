/* The optimizer that a job asks for. */
#include "core/patterns.h"
#include "train/job.h"

void lk_job_optimizer(const lk_job *job, lk_optimizer_config *out) {
    *out = (lk_optimizer_config){.kind = (lk_optimizer_kind)job->optimizer.kind,
                                 .weight_decay = job->optimizer.weight_decay,
                                 .momentum = job->optimizer.momentum,
                                 .dampening = job->optimizer.dampening,
                                 .nesterov = job->optimizer.nesterov,
                                 .beta1 = job->optimizer.beta1,
                                 .beta2 = job->optimizer.beta2,
                                 .alpha = job->optimizer.alpha,
                                 .epsilon = job->optimizer.epsilon,
                                 .epsilon_inside_sqrt = job->optimizer.epsilon_inside_sqrt,
                                 .centered = job->optimizer.centered,
                                 .clip_value = job->optimizer.clip_value};
}

lk_status lk_job_check_optimizer(const lk_job *job, lk_error *err) {
    lk_optimizer_config config;
    lk_patterns patterns;
    lk_job_optimizer(job, &config);
    LK_RETURN_IF(lk_optimizer_check(&config, err));
    if (job->optimizer.clip_norm > 0 && job->optimizer.clip_value > 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.clip_norm and optimizer.clip_value exclude each other: leave one of them at 0");
    LK_RETURN_IF(lk_patterns_parse(&patterns, job->optimizer.no_decay, "optimizer.no_decay", err));
    LK_RETURN_IF(lk_patterns_parse(&patterns, job->freeze.names, "freeze.names", err));
    if (job->freeze.batchnorm && patterns.count == 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "freeze.batchnorm is true, but freeze.names names no parameter: say which layers are frozen");
    return LK_OK;
}

void lk_job_ema(const lk_job *job, lk_ema *out) {
    *out = (lk_ema){.decay = job->ema.decay,
                    .warmup = job->ema.warmup,
                    .warmup_gamma = job->ema.warmup_gamma,
                    .warmup_power = job->ema.warmup_power};
}
