/* What the weights of `init` were made with becomes the default of a job. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "train/job_internal.h"
#include "train/weights_import.h"

static const char *const KEYS[] = {"input.size",          "input.color",  "input.resize", "input.resize_size",
                                   "input.interpolation", "input.decode", "input.mean",   "input.std"};
enum { KEY_COUNT = sizeof KEYS / sizeof KEYS[0], RESIZE_SIZE = 3 };

/* The shortest decimal number that rounds to this float, so that a job says 0.485 as people do. */
static double shortest(float value) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return strtod(text, NULL);
}

/* The keys that say what `p` says. */
static void fill_input(lk_job *job, const lk_preprocess *p) {
    job->input.size = p->height;
    job->input.channels = p->channels == 3 ? 0 : 1;
    job->input.resize = p->resize;
    job->input.resize_size = p->resize == LK_RESIZE_SHORT_SIDE ? p->resize_size : p->height;
    job->input.interpolation = p->interpolation;
    job->input.decode = p->scaled_decode;
    job->input.mean_count = job->input.std_count = p->channels;
    for (int c = 0; c < p->channels; c++) {
        job->input.mean[c] = shortest(p->mean[c]);
        job->input.std[c] = shortest(p->std[c]);
    }
}

/* Where the weights' keys come from: the resolved job of the run, or the weights themselves. */
static lk_status find_theirs(lk_job *theirs, bool *known, const lk_job *job, const char *stored, lk_error *err) {
    lk_preprocess p;
    if (stored != NULL) {
        lk_job run;
        int count;
        const lk_option *table = lk_job_options(&count);
        LK_RETURN_IF(lk_options_defaults(table, count, &run, err));
        lk_status status = lk_options_read_yaml(table, count, &run, stored, NULL, err);
        if (status == LK_OK) theirs->input = run.input;
        lk_job_free(&run);
        *known = true;
        return status;
    }
    LK_RETURN_IF(lk_weights_preprocess(&p, known, job->init, job->model, err));
    if (!*known) return LK_OK;
    if (p.height != p.width)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "%s was made for inputs of %d x %d pixels; a job's are square",
                       job->init, p.height, p.width);
    fill_input(theirs, &p);
    return LK_OK;
}

static lk_status append(char **text, const char *separator, const char *more, lk_error *err) {
    char *longer = NULL;
    LK_RETURN_IF(lk_format(&longer, err, "%s%s%s", *text == NULL ? "" : *text, *text == NULL ? "" : separator, more));
    lk_free(*text);
    *text = longer;
    return LK_OK;
}

/* Takes over one key, or notes that the job's own differs. */
static lk_status take_key(lk_job *job, const lk_job *theirs, const char *name, bool given, lk_job_notes *notes,
                          lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    int i = lk_options_find(table, count, name);
    char ours[512], value[512], note[1200];
    lk_option_print(&table[i], theirs, value, sizeof value);
    if (!given) {
        LK_RETURN_IF(lk_options_set(table, count, job, name, value, "the weights", err));
        snprintf(note, sizeof note, "%s %s", name, value);
        return notes == NULL ? LK_OK : append(&notes->preprocess, ", ", note, err);
    }
    lk_option_print(&table[i], job, ours, sizeof ours);
    if (strcmp(ours, value) == 0 || notes == NULL) return LK_OK;
    snprintf(note, sizeof note, "%s is %s in the job and %s in the weights", name, ours, value);
    return append(&notes->warning, "; ", note, err);
}

lk_status lk_job_take_init(lk_job *job, lk_job_notes *notes, const bool *seen, const char *stored, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    bool known;
    lk_job theirs = {0};
    LK_RETURN_IF(find_theirs(&theirs, &known, job, stored, err));
    if (!known) return LK_OK;
    for (int i = 0; i < KEY_COUNT; i++) {
        bool given = seen[lk_options_find(table, count, KEYS[i])];
        /* The crop of the weights is a share: with another size the short side goes with it. */
        if (i == RESIZE_SIZE && !given && job->input.size != theirs.input.size)
            theirs.input.resize_size =
                lk_weights_resize_size(theirs.input.resize_size, theirs.input.size, job->input.size);
        LK_RETURN_IF(take_key(job, &theirs, KEYS[i], given, notes, err));
    }
    return LK_OK;
}

void lk_job_notes_free(lk_job_notes *notes) {
    lk_free(notes->preprocess);
    lk_free(notes->warning);
    *notes = (lk_job_notes){0};
}
