/* What a job says, as other parts take it. */
#include <string.h>

#include "train/job.h"

int lk_job_leaves(const lk_job *job) { return (int)(job->batch / job->microbatch); }

int lk_job_chain(const lk_job *job) { return job->max_ranks == 0 ? 1 : lk_job_leaves(job) / (int)job->max_ranks; }

lk_dtype lk_job_compute(const lk_job *job) { return lk_compute_of(job->compute); }

bool lk_job_scales_loss(const lk_job *job) {
    return job->loss_scale.kind == 1 || (job->loss_scale.kind == 0 && lk_job_compute(job) == LK_F16);
}

void lk_job_preprocess(const lk_job *job, lk_preprocess *out) {
    memset(out, 0, sizeof *out);
    out->channels = job->input.channels == 0 ? 3 : 1;
    out->height = out->width = (int32_t)job->input.size;
    out->resize = (lk_resize_rule)job->input.resize;
    out->resize_size = (int32_t)job->input.resize_size;
    out->interpolation = (lk_interpolation)job->input.interpolation;
    out->scaled_decode = job->input.decode == 1;
    for (int c = 0; c < out->channels; c++) {
        out->mean[c] = (float)job->input.mean[c];
        out->std[c] = (float)job->input.std[c];
    }
}

void lk_job_model_spec(const lk_job *job, int64_t classes, lk_model_spec *out) {
    lk_preprocess preprocess;
    lk_job_preprocess(job, &preprocess);
    memset(out, 0, sizeof *out);
    out->channels = preprocess.channels;
    out->h = preprocess.height;
    out->w = preprocess.width;
    out->classes = classes;
    out->dropout = job->network.dropout;
    out->drop_path = job->network.drop_path;
    out->bn_momentum = job->network.bn_momentum;
    memcpy(out->mean, preprocess.mean, sizeof out->mean);
    memcpy(out->std, preprocess.std, sizeof out->std);
}
