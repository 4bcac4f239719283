/* lockstep preview: a picture of what the network will see. */
#include "jobs/preview.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "dist/topology.h"
#include "io/data/loader.h"
#include "io/model/atomic.h"
#include "jobs/command.h"
#include "train/training_set.h"

typedef struct preview_flags {
    char *out;
    int64_t samples, draws;
    bool eval, help;
} preview_flags;

#define AT(field) offsetof(preview_flags, field)
static const lk_option FLAGS[] = {
    {"output", LK_OPTION_STRING, AT(out), 0, "preview.png", 0, 0, NULL, "the PNG file to write", 'o', false},
    {"samples", LK_OPTION_INT, AT(samples), 0, "8", 1, 1000, NULL, "rows: samples of the first microbatch", 0, false},
    {"draws", LK_OPTION_INT, AT(draws), 0, "6", 1, 1000, NULL,
     "columns: the same samples as the first, second, ... epoch draws them", 0, false},
    {"eval", LK_OPTION_BOOL, AT(eval), 0, "false", 0, 0, NULL,
     "validation samples as evaluation prepares them, one to a cell", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

typedef struct preview {
    const preview_flags *flags;
    const lk_job *job;
    lk_dataset *dataset;
    lk_training_set set;
    lk_sampler *sampler;
    lk_loader *loader;
    lk_preprocess preprocess;
    size_t image_bytes;
    int rows, columns;
    uint8_t *pixels; /* rows x columns x image */
    lk_preview_cell *cells;
} preview;

static const char *class_of(const preview *p, int32_t label) {
    return label < 0 ? "no label" : p->dataset->class_names[label];
}

/* As the network's input op does, in whole levels. */
static void mix_pixels(uint8_t *out, const uint8_t *own, const uint8_t *other, double share, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = (uint8_t)(share * own[i] + (1 - share) * other[i] + 0.5);
}

static void fill_cell(preview *p, int row, int column, const lk_microbatch *batch, int64_t at) {
    lk_preview_cell *cell = &p->cells[row * p->columns + column];
    uint8_t *pixels = p->pixels + (size_t)(row * p->columns + column) * p->image_bytes;
    const uint8_t *own = batch->images + (size_t)at * p->image_bytes;
    cell->pixels = pixels;
    if (batch->partner == NULL) {
        memcpy(pixels, own, p->image_bytes);
        snprintf(cell->caption[0], LK_CAPTION_SIZE, "%s", class_of(p, batch->labels[at]));
        return;
    }
    int32_t partner = batch->partner[at];
    double share = (double)batch->label_share[at];
    mix_pixels(pixels, own, batch->images + (size_t)partner * p->image_bytes, (double)batch->pixel_share[at],
               p->image_bytes);
    snprintf(cell->caption[0], LK_CAPTION_SIZE, "%.2f %s", share, class_of(p, batch->labels[at]));
    snprintf(cell->caption[1], LK_CAPTION_SIZE, "%.2f %s", 1 - share, class_of(p, batch->labels[partner]));
}

/* The first microbatch of the run, as each of the first epochs would draw its samples. */
static lk_status load_training(preview *p, lk_error *err) {
    lk_augment augment;
    int64_t first, rows;
    lk_job_augment(p->job, &augment);
    lk_sampler_leaf(p->sampler, 0, 0, &first, &rows);
    p->rows = (int)(p->flags->samples < rows ? p->flags->samples : rows);
    for (int column = 0; column < p->columns; column++) {
        lk_microbatch batch;
        lk_load_request request = {
            .rows = rows, .samples = p->sampler->order, .first_position = first, .epoch = (uint32_t)column};
        LK_RETURN_IF(lk_loader_submit(p->loader, &request, 1, &augment, (uint64_t)p->job->seed, err));
        LK_RETURN_IF(lk_loader_next(p->loader, &batch, err));
        for (int row = 0; row < p->rows; row++) fill_cell(p, row, column, &batch, row);
        lk_loader_release(p->loader, &batch);
    }
    return LK_OK;
}

/* Validation samples, spread over the split. */
static lk_status load_evaluation(preview *p, lk_error *err) {
    int64_t wanted = p->flags->samples * p->columns, count = p->set.validation_count;
    if (wanted > count) wanted = count;
    for (int64_t i = 0; i < wanted; i++) {
        lk_microbatch batch;
        lk_load_request request = {.rows = 1, .samples = &p->set.validation[i * count / wanted]};
        LK_RETURN_IF(lk_loader_submit(p->loader, &request, 1, NULL, 0, err));
        LK_RETURN_IF(lk_loader_next(p->loader, &batch, err));
        fill_cell(p, (int)(i / p->columns), (int)(i % p->columns), &batch, 0);
        lk_loader_release(p->loader, &batch);
    }
    p->rows = (int)((wanted + p->columns - 1) / p->columns);
    return LK_OK;
}

static lk_status prepare(preview *p, lk_error *err) {
    int cores;
    LK_RETURN_IF(lk_topology_cores(&cores, err));
    LK_RETURN_IF(lk_dataset_open(&p->dataset, p->job->data, err));
    LK_RETURN_IF(lk_training_set_read(&p->set, p->job, p->dataset, err));
    LK_RETURN_IF(lk_training_set_sampler(&p->sampler, &p->set, p->job, p->dataset, err));
    lk_job_preprocess(p->job, &p->preprocess);
    lk_loader_config config = {
        .workers = cores, .prefetch = 1, .microbatch = p->job->microbatch, .preprocess = p->preprocess};
    LK_RETURN_IF(lk_loader_create(&p->loader, p->dataset, &config, err));
    p->image_bytes = (size_t)p->preprocess.width * (size_t)p->preprocess.height * (size_t)p->preprocess.channels;
    p->columns = (int)p->flags->draws;
    int64_t cells = p->flags->samples * p->flags->draws;
    LK_RETURN_IF(LK_NEW(&p->cells, cells, "the cells of a preview", err));
    return lk_alloc((void **)&p->pixels, (size_t)cells, p->image_bytes, "the pictures of a preview", err);
}

static lk_status write_png(const lk_image *image, const char *path, lk_error *err) {
    lk_status status;
    lk_atomic_file file = {.fd = -1};
    uint8_t *bytes = NULL;
    size_t size = 0;
    LK_TRY(lk_image_encode_png(&bytes, &size, image, err));
    LK_TRY(lk_atomic_create(&file, path, err));
    LK_TRY(lk_write_at(file.fd, bytes, size, 0, path, err));
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    lk_free(bytes);
    return status;
}

static lk_status draw(const preview_flags *flags, const lk_job *job, lk_error *err) {
    lk_status status;
    lk_image image = {0};
    preview p = {.flags = flags, .job = job};
    LK_TRY(prepare(&p, err));
    LK_TRY(flags->eval ? load_evaluation(&p, err) : load_training(&p, err));
    const lk_preview_grid grid = {.rows = p.rows,
                                  .columns = p.columns,
                                  .width = p.preprocess.width,
                                  .height = p.preprocess.height,
                                  .channels = p.preprocess.channels,
                                  .cells = p.cells};
    LK_TRY(lk_preview_draw(&image, &grid, err));
    LK_TRY(write_png(&image, flags->out, err));
    if (flags->eval)
        printf("%s: validation samples as evaluation prepares them, %d x %d\n", flags->out, p.rows, p.columns);
    else
        printf("%s: %d samples of the first microbatch (rows) as %d epochs draw them (columns)\n", flags->out, p.rows,
               p.columns);
out:
    lk_image_free(&image);
    lk_free(p.cells);
    lk_free(p.pixels);
    lk_loader_free(p.loader);
    lk_sampler_free(p.sampler);
    lk_training_set_free(&p.set);
    lk_dataset_free(p.dataset);
    return status;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    lk_job job = {0};
    lk_status status = lk_job_read(&job, arguments[0], arguments + 1, count - 1, err);
    if (status == LK_OK) status = draw(flags, &job, err);
    lk_job_free(&job);
    return status;
}

const lk_command lk_command_preview = {
    .synopsis = "preview JOB.yaml [KEY=VALUE ...] [-o grid.png]",
    .about =
        "Draws what the network will see before a run is paid for: training samples through the loader, with\n"
        "augmentation and mixing, a row for each sample and a column for each draw, class names below.",
    LK_COMMAND_OPTIONS(FLAGS, preview_flags),
    .least = 1,
    .most = -1,
    .wrong = "preview takes a job file: lockstep preview JOB.yaml -o grid.png",
    .run = run};
