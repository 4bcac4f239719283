#include "train/loss.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum { WEIGHTS, ALPHA, OFFSETS, ARRAYS };

static const char *const WEIGHTINGS[LK_WEIGHTING_COUNT] = {
    "no class weights", "given class weights", "inverse-frequency class weights", "effective-number class weights"};

lk_status lk_loss_check(const lk_job *job, lk_error *err) {
    if (job->loss.cross_entropy == 0 && job->loss.focal == 0 && job->loss.f1 == 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "loss.cross_entropy, loss.focal and loss.f1 are all 0, which leaves nothing to minimise: give "
                       "one of them a factor");
    if (job->loss.class_weights_count > 0 && job->loss.weighting != LK_WEIGHTING_GIVEN)
        return lk_fail(err, LK_ERR_CONFIG, "loss.class_weights are read with 'loss.weighting: given' only");
    if (job->loss.class_weights_count == 0 && job->loss.weighting == LK_WEIGHTING_GIVEN)
        return lk_fail(err, LK_ERR_CONFIG, "'loss.weighting: given' needs loss.class_weights, one number per class");
    if (job->loss.focal_alpha_count > 0 && job->loss.focal == 0)
        return lk_fail(err, LK_ERR_CONFIG, "loss.focal_alpha is read with loss.focal above 0 only");
    return LK_OK;
}

static lk_status check_list(const char *key, int given, int classes, lk_error *err) {
    if (given == 0 || given == classes) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "%s has %d value%s, but the data set has %d classes: give one for each, in order", key, given,
                   given == 1 ? "" : "s", classes);
}

/* What needs samples of every class must have them. */
static lk_status check_counts(const char *what, const char *const *class_names, int classes, const int64_t *counts,
                              lk_error *err) {
    if (counts == NULL)
        return lk_fail(err, LK_ERR_CONFIG, "%s need the number of training samples of each class, which is not known",
                       what);
    for (int k = 0; k < classes; k++)
        if (counts[k] <= 0)
            return lk_fail(err, LK_ERR_CONFIG,
                           "class '%s' has no training samples, and %s need at least one of each class: pack the data "
                           "without that class, or use 'loss.weighting: given' and no logit adjustment",
                           class_names[k], what);
    return LK_OK;
}

static double total_of(const int64_t *counts, int classes) {
    int64_t total = 0;
    for (int k = 0; k < classes; k++) total += counts[k];
    return (double)total;
}

static void inverse_frequency(double *weights, const int64_t *counts, int classes) {
    double total = total_of(counts, classes);
    for (int k = 0; k < classes; k++) weights[k] = total / ((double)classes * (double)counts[k]);
}

static void effective_number(double *weights, const int64_t *counts, int classes, double beta) {
    double sum = 0;
    for (int k = 0; k < classes; k++) {
        /* 1 - beta^n without the loss of digits near beta = 1; beta 0 is weight 1 for all. */
        weights[k] = beta == 0 ? 1 : (1 - beta) / -expm1((double)counts[k] * log(beta));
        sum += weights[k];
    }
    for (int k = 0; k < classes; k++) weights[k] *= (double)classes / sum;
}

static lk_status set_weights(lk_loss *loss, const lk_job *job, const char *const *class_names, const int64_t *counts,
                             lk_error *err) {
    double *weights = loss->values + (ptrdiff_t)WEIGHTS * loss->classes;
    int rule = job->loss.weighting, classes = loss->classes;
    if (rule == LK_WEIGHTING_NONE) return LK_OK;
    if (rule != LK_WEIGHTING_GIVEN) LK_RETURN_IF(check_counts(WEIGHTINGS[rule], class_names, classes, counts, err));
    if (rule == LK_WEIGHTING_GIVEN) memcpy(weights, job->loss.class_weights, (size_t)classes * sizeof *weights);
    if (rule == LK_WEIGHTING_INVERSE) inverse_frequency(weights, counts, classes);
    if (rule == LK_WEIGHTING_EFFECTIVE) effective_number(weights, counts, classes, job->loss.effective_beta);
    double sum = 0;
    for (int k = 0; k < classes; k++) sum += weights[k];
    if (!(sum > 0)) return lk_fail(err, LK_ERR_CONFIG, "loss.class_weights are all 0: no sample would count");
    loss->config.class_weights = weights;
    return LK_OK;
}

static lk_status set_offsets(lk_loss *loss, const lk_job *job, const char *const *class_names, const int64_t *counts,
                             lk_error *err) {
    double *offsets = loss->values + (ptrdiff_t)OFFSETS * loss->classes;
    if (job->loss.logit_adjustment == 0) return LK_OK;
    LK_RETURN_IF(check_counts("adjusted logits", class_names, loss->classes, counts, err));
    double total = total_of(counts, loss->classes);
    for (int k = 0; k < loss->classes; k++) offsets[k] = job->loss.logit_adjustment * log((double)counts[k] / total);
    loss->config.logit_offsets = offsets;
    return LK_OK;
}

static void set_alpha(lk_loss *loss, const lk_job *job) {
    double *alpha = loss->values + (ptrdiff_t)ALPHA * loss->classes;
    if (job->loss.focal_alpha_count == 0) return;
    memcpy(alpha, job->loss.focal_alpha, (size_t)loss->classes * sizeof *alpha);
    loss->config.focal_alpha = alpha;
}

lk_status lk_loss_create(lk_loss *out, const lk_job *job, const char *const *class_names, int classes,
                         const int64_t *counts, lk_error *err) {
    lk_status status;
    *out = (lk_loss){.config = {.cross_entropy = job->loss.cross_entropy,
                                .focal = job->loss.focal,
                                .f1 = job->loss.f1,
                                .smoothing = job->loss.smoothing,
                                .smoothing_rule = (lk_smoothing_rule)job->loss.smoothing_rule,
                                .focal_gamma = job->loss.focal_gamma,
                                .f1_epsilon = job->loss.f1_epsilon,
                                .f1_microbatch = job->loss.f1_counts == 1},
                     .classes = classes,
                     .weighting = (lk_weighting)job->loss.weighting};
    if (classes < 2)
        return lk_fail(err, LK_ERR_CONFIG, "the data set has %d class, and a loss needs at least 2 to tell apart",
                       classes);
    LK_TRY(check_list("loss.class_weights", job->loss.class_weights_count, classes, err));
    LK_TRY(check_list("loss.focal_alpha", job->loss.focal_alpha_count, classes, err));
    LK_TRY(LK_NEW(&out->values, ARRAYS * (int64_t)classes, "the loss", err));
    LK_TRY(set_weights(out, job, class_names, counts, err));
    LK_TRY(set_offsets(out, job, class_names, counts, err));
    set_alpha(out, job);
out:
    if (status != LK_OK) lk_loss_free(out);
    return status;
}

void lk_loss_free(lk_loss *loss) {
    lk_free(loss->values);
    *loss = (lk_loss){0};
}

lk_status lk_loss_count(int64_t **counts, const lk_dataset *dataset, const int64_t *samples, int64_t count,
                        lk_error *err) {
    LK_RETURN_IF(LK_NEW(counts, dataset->class_count, "class counts", err));
    for (int64_t i = 0; i < count; i++) {
        int32_t label = dataset->samples[samples[i]].label;
        if (label >= 0) (*counts)[label]++;
    }
    return LK_OK;
}

double lk_loss_weight_scale(const lk_loss_config *config, const lk_dataset *dataset, const int64_t *samples,
                            int64_t count) {
    double sum = 0;
    if (config->class_weights == NULL) return 1;
    for (int64_t i = 0; i < count; i++) sum += config->class_weights[dataset->samples[samples[i]].label];
    return sum > 0 ? (double)count / sum : 0;
}

/* Adds to the text as far as there is room. */
__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void add_values(char *text, size_t size, const char *what, const double *values, const char *const *class_names,
                       int classes) {
    if (values == NULL) return;
    add(text, size, "; %s:", what);
    for (int k = 0; k < classes; k++) add(text, size, "%s %s %.4g", k == 0 ? "" : ",", class_names[k], values[k]);
}

double lk_loss_of_split(const lk_loss_config *config, const lk_metrics *metrics, const double *f1_counts) {
    double loss = metrics->loss, sum = 0;
    for (int k = 0; config->class_weights != NULL && k < metrics->classes; k++)
        sum += config->class_weights[k] * (double)metrics->per_class[k].support;
    if (config->class_weights != NULL) loss = sum > 0 ? loss * ((double)metrics->samples / sum) : 0;
    return f1_counts == NULL ? loss : loss + config->f1 * lk_f1_value(metrics->classes, f1_counts, config->f1_epsilon);
}

bool lk_loss_is_plain(const lk_loss *loss) {
    const lk_loss_config *c = &loss->config;
    return c->cross_entropy == 1 && c->focal == 0 && c->f1 == 0 && c->smoothing == 0 && c->class_weights == NULL &&
           c->logit_offsets == NULL;
}

char *lk_loss_print(const lk_loss *loss, const char *const *class_names, char *text, size_t size) {
    const lk_loss_config *c = &loss->config;
    text[0] = '\0';
    if (c->cross_entropy > 0) add(text, size, "%g cross-entropy", c->cross_entropy);
    if (c->focal > 0)
        add(text, size, "%s%g focal (gamma %g)", c->cross_entropy > 0 ? " + " : "", c->focal, c->focal_gamma);
    if (c->f1 > 0)
        add(text, size, "%s%g soft macro-F1 of the %s", c->cross_entropy + c->focal > 0 ? " + " : "", c->f1,
            c->f1_microbatch ? "microbatch" : "window");
    if (c->smoothing > 0)
        add(text, size, "; label smoothing %g %s", c->smoothing,
            c->smoothing_rule == LK_SMOOTHING_OTHERS ? "on the other classes" : "on every class");
    add_values(text, size, WEIGHTINGS[loss->weighting], c->class_weights, class_names, loss->classes);
    add_values(text, size, "alpha", c->focal_alpha, class_names, loss->classes);
    add_values(text, size, "logits adjusted by", c->logit_offsets, class_names, loss->classes);
    /* What has no room ends after a whole class: half a name might be no UTF-8. */
    char *cut = strlen(text) + 1 < size ? NULL : strrchr(text, ',');
    if (cut != NULL && (size_t)(cut - text) + 5 < size) memcpy(cut, ", ...", 6);
    return text;
}
