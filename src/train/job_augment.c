/* What a job says about augmentation, mixing, sampling and folds. */
#include <string.h>

#include "train/job.h"

static lk_status check_range(const char *key, const double *values, int count, lk_error *err) {
    if (count == 2 && values[0] <= values[1]) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG, "%s takes two numbers, the smaller first", key);
}

lk_status lk_job_check_augment(const lk_job *job, lk_error *err) {
    int channels = job->input.channels == 0 ? 3 : 1;
    LK_RETURN_IF(check_range("augment.scale", job->augment.scale, job->augment.scale_count, err));
    LK_RETURN_IF(check_range("augment.ratio", job->augment.ratio, job->augment.ratio_count, err));
    LK_RETURN_IF(check_range("augment.blur_sigma", job->augment.blur_sigma, job->augment.blur_sigma_count, err));
    LK_RETURN_IF(check_range("augment.erase_scale", job->augment.erase_scale, job->augment.erase_scale_count, err));
    LK_RETURN_IF(check_range("augment.erase_ratio", job->augment.erase_ratio, job->augment.erase_ratio_count, err));
    if (job->augment.fill_count != 1 && job->augment.fill_count != channels)
        return lk_fail(err, LK_ERR_CONFIG, "augment.fill has %d values; input.color needs 1 or %d",
                       job->augment.fill_count, channels);
    if (job->augment.policy_magnitude >= job->augment.policy_bins)
        return lk_fail(err, LK_ERR_CONFIG, "augment.policy_magnitude is %lld; with policy_bins %lld it ends at %lld",
                       (long long)job->augment.policy_magnitude, (long long)job->augment.policy_bins,
                       (long long)job->augment.policy_bins - 1);
    bool fits = job->augment.blur_kernel % 2 == 1 && job->augment.blur_kernel / 2 < job->input.size;
    if (job->augment.blur > 0 && !fits)
        return lk_fail(err, LK_ERR_CONFIG,
                       "augment.blur_kernel is %lld; it must be odd and below %lld (twice input.size)",
                       (long long)job->augment.blur_kernel, (long long)(2 * job->input.size));
    return LK_OK;
}

lk_status lk_job_check_sampler(const lk_job *job, lk_error *err) {
    if (job->folds == 0 && job->fold == 0) return LK_OK;
    if (job->folds < 2)
        return lk_fail(err, LK_ERR_CONFIG, "fold is %lld but folds is %lld: folds must be at least 2",
                       (long long)job->fold, (long long)job->folds);
    if (job->fold < 1 || job->fold > job->folds)
        return lk_fail(err, LK_ERR_CONFIG,
                       "fold is %lld: with folds %lld give 1 to %lld, or run all of them with 'lockstep kfold'",
                       (long long)job->fold, (long long)job->folds, (long long)job->folds);
    return LK_OK;
}

static void set_shape(const lk_job *job, lk_augment *out) {
    out->crop = (lk_crop_rule)job->augment.crop;
    out->scale_min = job->augment.scale[0];
    out->scale_max = job->augment.scale[1];
    out->ratio_min = job->augment.ratio[0];
    out->ratio_max = job->augment.ratio[1];
    out->crop_pad = (int32_t)job->augment.pad;
    out->hflip = job->augment.hflip;
    out->vflip = job->augment.vflip;
    out->rotate = job->augment.rotate;
    out->bilinear = job->augment.interpolation == 1;
    for (int c = 0; c < 3; c++) out->fill[c] = (uint8_t)(job->augment.fill[c < job->augment.fill_count ? c : 0] + 0.5);
    out->policy = (lk_policy)job->augment.policy;
    out->policy_ops = (int)job->augment.policy_ops;
    out->policy_magnitude = (int)job->augment.policy_magnitude;
    out->policy_bins = (int)job->augment.policy_bins;
}

static void set_color(const lk_job *job, lk_augment *out) {
    out->jitter = job->augment.jitter;
    out->brightness = job->augment.brightness;
    out->contrast = job->augment.contrast;
    out->saturation = job->augment.saturation;
    out->hue = job->augment.hue;
    out->grayscale = job->augment.grayscale;
    out->blur = job->augment.blur;
    out->blur_size = (int)job->augment.blur_kernel;
    out->blur_min = job->augment.blur_sigma[0];
    out->blur_max = job->augment.blur_sigma[1];
    out->noise = job->augment.noise;
    out->noise_sigma = job->augment.noise_sigma;
    out->erase = job->augment.erase;
    out->erase_scale_min = job->augment.erase_scale[0];
    out->erase_scale_max = job->augment.erase_scale[1];
    out->erase_ratio_min = job->augment.erase_ratio[0];
    out->erase_ratio_max = job->augment.erase_ratio[1];
    out->erase_fill = (lk_erase_fill)job->augment.erase_fill;
}

void lk_job_augment(const lk_job *job, lk_augment *out) {
    memset(out, 0, sizeof *out);
    set_shape(job, out);
    set_color(job, out);
    out->mix = (lk_mix){.mixup = job->mix.mixup,
                        .cutmix = job->mix.cutmix,
                        .probability = job->mix.prob,
                        .cutmix_share = job->mix.cutmix_share};
}
