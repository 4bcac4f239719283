#include "train/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

static const char *const DEVICES[] = {"auto", "cpu", "reference", NULL};
static const char *const COMPUTES[] = {"float32", "bfloat16", NULL};
static const char *const COLOURS[] = {"rgb", "grey", NULL};
static const char *const RESIZES[] = {"none", "short_side", "stretch", NULL};
static const char *const INTERPOLATIONS[] = {"bilinear", "bicubic", NULL};
static const char *const DECODES[] = {"exact", "scaled", NULL};
static const char *const CROPS[] = {"center", "random_resized", "pad_random", NULL};
static const char *const SCHEDULES[] = {"constant", "step", "cosine", NULL};
static const char *const MONITORS[] = {"f1", "loss", NULL};

/* clang-format off */
#define AT(field) offsetof(lk_job, field)
#define INT(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_INT, .offset = AT(field), .default_text = def, .min = lo, .max = hi, .help = text}
#define NUM(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_DOUBLE, .offset = AT(field), .default_text = def, .min = lo, .max = hi, .help = text}
#define BOOL(key, field, def, text) {.name = key, .type = LK_OPTION_BOOL, .offset = AT(field), .default_text = def, .help = text}
#define PICK(key, field, def, list, text) {.name = key, .type = LK_OPTION_CHOICE, .offset = AT(field), .default_text = def, .choices = list, .help = text}
#define LIST(key, field, def, lo, hi, text) {.name = key, .type = LK_OPTION_DOUBLES, .offset = AT(field), .count_offset = AT(field##_count), .default_text = def, .min = lo, .max = hi, .help = text}
#define TEXT(key, field, def, text) {.name = key, .type = LK_OPTION_STRING, .offset = AT(field), .default_text = def, .help = text}

static const lk_option OPTIONS[] = {
    INT("version", version, "1", 1, 1e9, "format of the job file"),
    TEXT("data", data, NULL, "packed data set (lockstep pack)"),
    TEXT("model", model, NULL, "network, e.g. resnet18, cifar_resnet8"),
    TEXT("device", device, "auto", "auto, cpu or reference (float64, slow, the oracle)"),
    PICK("compute", compute, "float32", COMPUTES, "type of activations; weights, sums and state stay float32"),
    INT("epochs", epochs, "10", 1, 1e6, "passes over the training split"),
    INT("max_updates", max_updates, "0", 0, 1e15, "stop after this many updates in all; 0: no limit"),
    INT("batch", batch, "128", 1, 1e7, "samples per update"),
    INT("microbatch", microbatch, "0", 0, 1e6, "samples per forward and backward pass; batch / microbatch leaves are summed; 0: batch / 4"),
    INT("threads_per_microbatch", threads_per_microbatch, "1", 1, 1024, "arithmetic threads of one microbatch (changes the bits)"),
    INT("seed", seed, "1", 0, 9007199254740992.0, "of initialisation, order and augmentation"),
    BOOL("drop_last", drop_last, "false", "drop an epoch's last, incomplete batch"),

    INT("input.size", input_size, "224", 8, 4096, "height and width the network sees, pixels"),
    PICK("input.color", input_channels, "rgb", COLOURS, "3 or 1 channels"),
    PICK("input.resize", input_resize, "short_side", RESIZES, "evaluation: none, short side then centre crop, or stretch"),
    INT("input.resize_size", input_resize_size, "0", 0, 16384, "short side before the crop, pixels; 0: size * 256 / 224"),
    PICK("input.interpolation", input_interpolation, "bilinear", INTERPOLATIONS, "antialiased, as Pillow"),
    PICK("input.decode", input_decode, "exact", DECODES, "scaled: let JPEG decode to a smaller size, never below the target"),
    LIST("input.mean", input_mean, "0.485, 0.456, 0.406", -10, 10, "of pixels / 255, one per channel"),
    LIST("input.std", input_std, "0.229, 0.224, 0.225", 1e-6, 10, "of pixels / 255, one per channel"),

    PICK("augment.crop", augment_crop, "random_resized", CROPS, "training crop"),
    LIST("augment.scale", augment_scale, "0.08, 1", 1e-4, 1, "random_resized: share of the area, least and most"),
    LIST("augment.ratio", augment_ratio, "0.75, 1.3333333333333333", 0.01, 100, "random_resized: width / height, least and most"),
    INT("augment.pad", augment_pad, "4", 0, 1024, "pad_random: pixels on each side"),
    NUM("augment.hflip", augment_hflip, "0.5", 0, 1, "probability of a horizontal flip"),

    NUM("loss.smoothing", loss_smoothing, "0", 0, 0.999999, "label smoothing: smoothing / K on every class"),
    NUM("optimizer.lr", optimizer_lr, "0.1", 0, 1e6, "learning rate of SGD"),
    NUM("optimizer.momentum", optimizer_momentum, "0.9", 0, 0.999999, "0: none"),
    NUM("optimizer.dampening", optimizer_dampening, "0", 0, 1, "of the momentum"),
    NUM("optimizer.weight_decay", optimizer_weight_decay, "0.0001", 0, 1e3, "added to the gradient"),
    BOOL("optimizer.nesterov", optimizer_nesterov, "false", "Nesterov momentum"),
    BOOL("optimizer.decay_norm_and_bias", optimizer_decay_norm_and_bias, "true", "false: no weight decay on BatchNorm and biases"),
    PICK("schedule.kind", schedule_kind, "step", SCHEDULES, "learning rate over the updates"),
    NUM("schedule.step_epochs", schedule_step_epochs, "30", 0.001, 1e6, "step: epochs between decays"),
    NUM("schedule.gamma", schedule_gamma, "0.1", 0, 1, "step: factor"),
    NUM("schedule.warmup_epochs", schedule_warmup_epochs, "0", 0, 1e6, "linear warm-up before the schedule"),
    NUM("schedule.warmup_factor", schedule_warmup_factor, "0.01", 0, 1, "first rate of the warm-up as a share of lr"),
    NUM("schedule.eta_min", schedule_eta_min, "0", 0, 1e6, "cosine: last rate"),

    INT("evaluate.batch", evaluate_batch, "0", 0, 1e6, "samples per evaluation batch; 0: microbatch"),
    INT("checkpoint.keep_best", checkpoint_keep_best, "1", 1, 1000, "how many best checkpoints of each kind stay"),
    INT("checkpoint.every", checkpoint_every, "0", 0, 1e15, "updates between writes of last.h5; 0: not by updates"),
    NUM("checkpoint.minutes", checkpoint_minutes, "10", 0, 1e6, "minutes between writes of last.h5; 0: not by time"),
    INT("checkpoint.golden", checkpoint_golden, "4", 1, 64, "images whose logits travel with the model"),
    INT("early_stop.patience", early_stop_patience, "0", 0, 1e6, "epochs without a new best before the run ends; 0: never"),
    PICK("early_stop.monitor", early_stop_monitor, "f1", MONITORS, "which best"),
    INT("loader.workers", loader_workers, "0", 0, 1024, "decoding threads of a rank; 0: one per core"),
    INT("loader.prefetch", loader_prefetch, "4", 1, 1024, "microbatches decoded ahead"),
};
/* clang-format on */

const lk_option *lk_job_options(int *count) {
    *count = (int)(sizeof OPTIONS / sizeof OPTIONS[0]);
    return OPTIONS;
}

static lk_status check_input(lk_job *job, lk_error *err) {
    int channels = job->input_channels == 0 ? 3 : 1;
    if (job->input_mean_count == 3 && channels == 1) job->input_mean_count = 1;
    if (job->input_std_count == 3 && channels == 1) job->input_std_count = 1;
    if (job->input_mean_count != channels || job->input_std_count != channels)
        return lk_fail(err, LK_ERR_CONFIG,
                       "input.mean has %d and input.std has %d values, but input.color needs %d of each",
                       job->input_mean_count, job->input_std_count, channels);
    if (job->input_resize_size == 0)
        job->input_resize_size = (int64_t)floor((double)job->input_size * 256.0 / 224.0 + 0.5);
    if (job->augment_scale_count != 2 || job->augment_scale[0] > job->augment_scale[1])
        return lk_fail(err, LK_ERR_CONFIG, "augment.scale takes two numbers, the smaller first");
    if (job->augment_ratio_count != 2 || job->augment_ratio[0] > job->augment_ratio[1])
        return lk_fail(err, LK_ERR_CONFIG, "augment.ratio takes two numbers, the smaller first");
    return LK_OK;
}

static lk_status check_job(lk_job *job, lk_error *err) {
    if (job->version > LK_JOB_VERSION)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the job file has version %lld and this program reads up to %d: use a newer lockstep",
                       (long long)job->version, LK_JOB_VERSION);
    bool known = false;
    for (int i = 0; DEVICES[i] != NULL; i++) known = known || strcmp(DEVICES[i], job->device) == 0;
    if (!known)
        return lk_fail(err, LK_ERR_CONFIG, "device '%s' is unknown; this build has auto, cpu and reference",
                       job->device);
    if (job->microbatch == 0) job->microbatch = job->batch % 4 == 0 ? job->batch / 4 : job->batch;
    if (job->batch % job->microbatch != 0)
        return lk_fail(err, LK_ERR_CONFIG, "batch %lld is not a multiple of microbatch %lld", (long long)job->batch,
                       (long long)job->microbatch);
    if (job->batch / job->microbatch > 1024)
        return lk_fail(err, LK_ERR_CONFIG, "batch / microbatch is %lld; at most 1024 microbatches per update",
                       (long long)(job->batch / job->microbatch));
    if (job->evaluate_batch == 0) job->evaluate_batch = job->microbatch;
    if (job->optimizer_nesterov && (job->optimizer_momentum == 0 || job->optimizer_dampening != 0))
        return lk_fail(err, LK_ERR_CONFIG, "optimizer.nesterov needs a momentum above 0 and no dampening");
    if (job->schedule_warmup_epochs > (double)job->epochs)
        return lk_fail(err, LK_ERR_CONFIG, "schedule.warmup_epochs is %g, longer than the run of %lld epochs",
                       job->schedule_warmup_epochs, (long long)job->epochs);
    return check_input(job, err);
}

lk_status lk_job_parse(lk_job *job, const char *text, const char *where, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    memset(job, 0, sizeof *job);
    lk_status status = lk_options_defaults(table, count, job, err);
    if (status == LK_OK) status = lk_options_parse_yaml(table, count, job, text, strlen(text), where, NULL, err);
    if (status == LK_OK) status = check_job(job, err);
    if (status != LK_OK) lk_job_free(job);
    return status;
}

lk_status lk_job_read(lk_job *job, const char *path, char *const *overrides, int override_count, lk_error *err) {
    lk_status status;
    int count;
    const lk_option *table = lk_job_options(&count);
    memset(job, 0, sizeof *job);
    LK_TRY(lk_options_defaults(table, count, job, err));
    LK_TRY(lk_options_read_yaml(table, count, job, path, NULL, err));
    for (int i = 0; i < override_count; i++) {
        char name[128];
        const char *equals = strchr(overrides[i], '=');
        size_t length = equals == NULL ? 0 : (size_t)(equals - overrides[i]);
        if (length == 0 || length >= sizeof name) {
            status = lk_fail(err, LK_ERR_USAGE, "'%s' is not KEY=VALUE", overrides[i]);
            goto out;
        }
        memcpy(name, overrides[i], length);
        name[length] = '\0';
        LK_TRY(lk_options_set(table, count, job, name, equals + 1, "command line", err));
    }
    if (job->data == NULL || job->model == NULL) {
        status = lk_fail(err, LK_ERR_CONFIG, "%s: the key '%s' is missing", path, job->data == NULL ? "data" : "model");
        goto out;
    }
    LK_TRY(check_job(job, err));
out:
    if (status != LK_OK) lk_job_free(job);
    return status;
}

void lk_job_free(lk_job *job) {
    int count;
    const lk_option *table = lk_job_options(&count);
    if (job != NULL) lk_options_free(table, count, job);
}

lk_status lk_job_write(const lk_job *job, char **text, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    return lk_options_write_yaml(table, count, job, text, err);
}

/* Does this key leave the computed bits alone? */
static bool is_launch_key(const lk_job *stored, const lk_job *now, const char *name) {
    if (strcmp(name, "data") == 0 || strcmp(name, "max_updates") == 0) return true;
    if (strncmp(name, "loader.", 7) == 0 || strncmp(name, "checkpoint.", 11) == 0) return true;
    return strcmp(name, "epochs") == 0 && now->epochs >= stored->epochs && now->schedule_kind != LK_SCHEDULE_COSINE;
}

lk_status lk_job_check_resume(const lk_job *stored, const lk_job *now, lk_error *err) {
    for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++) {
        char before[512], after[512];
        lk_option_print(&OPTIONS[i], stored, before, sizeof before);
        lk_option_print(&OPTIONS[i], now, after, sizeof after);
        if (strcmp(before, after) == 0 || is_launch_key(stored, now, OPTIONS[i].name)) continue;
        return lk_fail(err, LK_ERR_CONFIG,
                       "cannot resume: '%s' is %s in the job but %s in the run; change it back, or start a new run "
                       "with --run",
                       OPTIONS[i].name, after, before);
    }
    return LK_OK;
}

int lk_job_leaves(const lk_job *job) { return (int)(job->batch / job->microbatch); }

lk_dtype lk_job_compute(const lk_job *job) { return job->compute == 1 ? LK_BF16 : LK_F32; }

void lk_job_preprocess(const lk_job *job, lk_preprocess *out) {
    memset(out, 0, sizeof *out);
    out->channels = job->input_channels == 0 ? 3 : 1;
    out->height = out->width = (int32_t)job->input_size;
    out->resize = (lk_resize_rule)job->input_resize;
    out->resize_size = (int32_t)job->input_resize_size;
    out->interpolation = (lk_interpolation)job->input_interpolation;
    out->scaled_decode = job->input_decode == 1;
    for (int c = 0; c < out->channels; c++) {
        out->mean[c] = (float)job->input_mean[c];
        out->std[c] = (float)job->input_std[c];
    }
}

void lk_job_augment(const lk_job *job, lk_augment *out) {
    memset(out, 0, sizeof *out);
    out->crop = (lk_crop_rule)job->augment_crop;
    out->scale_min = job->augment_scale[0];
    out->scale_max = job->augment_scale[1];
    out->ratio_min = job->augment_ratio[0];
    out->ratio_max = job->augment_ratio[1];
    out->crop_pad = (int32_t)job->augment_pad;
    out->hflip = job->augment_hflip;
}

void lk_job_model_spec(const lk_job *job, int64_t classes, lk_model_spec *out) {
    lk_preprocess preprocess;
    lk_job_preprocess(job, &preprocess);
    memset(out, 0, sizeof *out);
    out->channels = preprocess.channels;
    out->h = preprocess.height;
    out->w = preprocess.width;
    out->classes = classes;
    memcpy(out->mean, preprocess.mean, sizeof out->mean);
    memcpy(out->std, preprocess.std, sizeof out->std);
}

void lk_job_optimizer(const lk_job *job, lk_optimizer_config *out) {
    memset(out, 0, sizeof *out);
    out->momentum = job->optimizer_momentum;
    out->dampening = job->optimizer_dampening;
    out->weight_decay = job->optimizer_weight_decay;
    out->nesterov = job->optimizer_nesterov;
    out->decay_norm_and_bias = job->optimizer_decay_norm_and_bias;
}

void lk_job_schedule(const lk_job *job, int64_t updates_per_epoch, lk_schedule *out) {
    double per_epoch = (double)updates_per_epoch;
    memset(out, 0, sizeof *out);
    out->kind = (lk_schedule_kind)job->schedule_kind;
    out->lr = job->optimizer_lr;
    out->gamma = job->schedule_gamma;
    out->step_updates = (int64_t)fmax(1.0, floor(job->schedule_step_epochs * per_epoch + 0.5));
    out->warmup_updates = (int64_t)floor(job->schedule_warmup_epochs * per_epoch + 0.5);
    out->warmup_factor = job->schedule_warmup_factor;
    int64_t total = job->epochs * updates_per_epoch;
    out->total_updates = total > out->warmup_updates ? total - out->warmup_updates : 1;
    out->eta_min = job->schedule_eta_min;
}
