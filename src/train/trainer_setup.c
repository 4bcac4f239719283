#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/memory.h"
#include "train/buckets.h"
#include "train/param_groups.h"
#include "train/pixel_memory.h"
#include "train/trainer_internal.h"

static lk_status open_dataset(lk_trainer *t, lk_error *err) {
    LK_RETURN_IF(lk_dataset_open(&t->dataset, t->job->data, err));
    LK_RETURN_IF(lk_training_set_read(&t->samples, t->job, t->dataset, err));
    LK_RETURN_IF(lk_loss_count(&t->class_counts, t->dataset, t->samples.train, t->samples.train_count, err));
    LK_RETURN_IF(lk_loss_create(&t->loss, t->job, (const char *const *)t->dataset->class_names, t->dataset->class_count,
                                t->class_counts, err));
    return lk_dataset_split(t->dataset, LK_SPLIT_TEST, &t->test, &t->test_count, err);
}

static lk_status create_sampler(lk_trainer *t, lk_error *err) {
    LK_RETURN_IF(lk_training_set_sampler(&t->sampler, &t->samples, t->job, t->dataset, err));
    t->updates_per_epoch = lk_sampler_updates(t->sampler);
    lk_job_schedule(t->job, t->updates_per_epoch, &t->schedule);
    lk_job_plateau(t->job, &t->plateau);
    lk_plateau_start(&t->counters.plateau, t->schedule.lr);
    if (lk_job_scales_loss(t->job)) t->counters.scaling.scale = t->job->loss_scale.initial;
    return LK_OK;
}

/* Samples of the epoch's last microbatch where it is smaller than the others; 0 where none is. */
static int64_t tail_rows(const lk_trainer *t) {
    int64_t rest = t->sampler->count % t->job->batch;
    return t->job->drop_last ? 0 : rest % t->job->microbatch;
}

static lk_status create_loader(lk_trainer *t, lk_error *err) {
    lk_loader_config config = {.workers = (int)t->job->loader.workers, .prefetch = (int)t->job->loader.prefetch};
    if (config.workers == 0) config.workers = t->cores;
    config.microbatch = t->job->microbatch > t->job->evaluate.batch ? t->job->microbatch : t->job->evaluate.batch;
    lk_job_preprocess(t->job, &config.preprocess);
    lk_job_augment(t->job, &t->augment);
    config.pixels = lk_pixel_memory_of(t->device);
    return lk_loader_create(&t->loader, t->dataset, &config, err);
}

static lk_status create_network(lk_trainer *t, lk_error *err) {
    lk_network_config config = {.model = t->job->model,
                                .loss = &t->loss.config,
                                .group = (int)t->job->sync_batchnorm,
                                .recompute = (lk_recompute)t->job->recompute,
                                .compute = lk_job_compute(t->job),
                                .microbatch = t->job->microbatch,
                                .tail_rows = tail_rows(t),
                                .evaluate_batch = t->job->evaluate.batch,
                                .average = t->job->ema.decay > 0,
                                .freeze = t->job->freeze.names,
                                .freeze_batchnorm = t->job->freeze.batchnorm,
                                .choices = t->recalled,
                                .seed = (uint64_t)t->job->seed,
                                .threads = t->cores};
    lk_job_model_spec(t->job, t->dataset->class_count, &config.spec);
    return lk_network_create(&t->network, t->device, &config, err);
}

static lk_status create_optimizer(lk_trainer *t, lk_error *err) {
    int count;
    lk_param_range *ranges = NULL;
    lk_optimizer_config config;
    lk_job_optimizer(t->job, &config);
    LK_RETURN_IF(lk_param_groups(&ranges, &count, t->job, t->network, err));
    lk_status status =
        lk_optimizer_create(&t->optimizer, t->device, &config, ranges, count, t->network->totals.slab_count, err);
    lk_free(ranges);
    return status;
}

/* How many leaves run side by side: the cores of this rank over the threads of a leaf, at most the leaves of its share,
 * and the same on all ranks, since all pass the boundaries between rounds together. */
static lk_status create_lanes(lk_trainer *t, lk_error *err) {
    int share = lk_job_leaves(t->job) / t->comm->size;
    int64_t lanes = t->cores / t->job->threads_per_microbatch;
    if (lanes > share) lanes = share;
    if (t->device->most_lanes > 0 && lanes > t->device->most_lanes) lanes = t->device->most_lanes;
    if (lanes < 1) lanes = 1;
    lanes = lk_exchange_lanes(share, (int)t->job->sync_batchnorm, (int)lanes);
    int64_t negative = -lanes;
    LK_RETURN_IF(lk_comm_max(t->comm, &negative, err));
    LK_RETURN_IF(lk_comm_agree(t->comm, lk_trainer_check_memory(t, (int)-negative, err), err));
    return lk_lanes_create(&t->lanes, t->network, (int)-negative, err);
}

static lk_status write_texts(lk_trainer *t, lk_error *err) {
    lk_meta meta = {.architecture = t->job->model,
                    .class_count = t->dataset->class_count,
                    .class_names = t->dataset->class_names,
                    .stored_rule = t->dataset->stored_rule,
                    .program = "lockstep " LK_VERSION,
                    .dataset_hash = {t->dataset->hash[0], t->dataset->hash[1]},
                    .training_counts = t->class_counts,
                    .ema_decay = t->job->ema.decay};
    lk_job_preprocess(t->job, &meta.preprocess);
    LK_RETURN_IF(lk_meta_write(&t->meta_text, &meta, err));
    return lk_job_write(t->job, &t->job_text, err);
}

/* The parts that need no other rank; their failure is agreed on. */
static lk_status setup_local(lk_trainer *t, lk_error *err) {
    LK_RETURN_IF(open_dataset(t, err));
    LK_RETURN_IF(create_sampler(t, err));
    LK_RETURN_IF(write_texts(t, err));
    LK_RETURN_IF(create_loader(t, err));
    LK_RETURN_IF(lk_trainer_recall_choices(t, err));
    LK_RETURN_IF(create_network(t, err));
    LK_RETURN_IF(lk_trainer_load_init(t, err)); /* before anything copies the parameters */
    LK_RETURN_IF(lk_network_restart_average(t->network, err));
    return create_optimizer(t, err);
}

static lk_status check_ranks(lk_trainer *t, lk_error *err) {
    int leaves = lk_job_leaves(t->job), chain = lk_job_chain(t->job);
    char counts[256], chains[48] = "", key[48] = "";
    if (chain > 1) {
        snprintf(chains, sizeof chains, " in %d chains of %d", leaves / chain, chain);
        snprintf(key, sizeof key, ", max_ranks %d", leaves / chain);
    }
    if (!lk_tree_ranks_ok(leaves / chain, t->comm->size))
        return lk_fail(err, LK_ERR_CONFIG,
                       "%d ranks cannot share %d microbatches%s (batch %" PRId64 " = %d x %" PRId64
                       "%s) evenly; rank counts that work: %s",
                       t->comm->size, leaves, chains, t->job->batch, leaves, t->job->microbatch, key,
                       lk_tree_ranks_print(leaves / chain, counts, sizeof counts));
    int group = (int)t->job->sync_batchnorm;
    if (!lk_exchange_ranks_ok(leaves, chain, group, t->comm->size))
        return lk_fail(err, LK_ERR_CONFIG,
                       "%d ranks have %d microbatches each and cannot run the %d at once that normalise together "
                       "(sync_batchnorm); rank counts that work: %s",
                       t->comm->size, leaves / t->comm->size, group,
                       lk_exchange_ranks_print(leaves, chain, group, counts, sizeof counts));
    return LK_OK;
}

static void set_snapshot(lk_trainer *t) {
    t->snapshot = (lk_snapshot){.network = t->network,
                                .optimizer = t->optimizer,
                                .counters = &t->counters,
                                .meta = t->meta_text,
                                .job = t->job_text,
                                .arithmetic = t->device->identity(t->device),
                                .choices = t->choices_text};
}

lk_status lk_trainer_setup(lk_trainer *t, lk_error *err) {
    LK_RETURN_IF(check_ranks(t, err));
    LK_RETURN_IF(lk_trainer_open_device(t, err));
    LK_RETURN_IF(lk_comm_agree(t->comm, setup_local(t, err), err));
    const char *arithmetic = t->device->identity(t->device);
    LK_RETURN_IF(lk_comm_check_equal(t->comm, arithmetic, (int64_t)strlen(arithmetic), "arithmetic", err));
    LK_RETURN_IF(lk_trainer_check_choices(t, err));
    LK_RETURN_IF(lk_comm_check_equal(t->comm, t->job_text, (int64_t)strlen(t->job_text), "job", err));
    LK_RETURN_IF(lk_comm_check_equal(t->comm, t->dataset->hash, sizeof t->dataset->hash, "data set", err));
    LK_RETURN_IF(lk_trainer_check_init(t, err));
    LK_RETURN_IF(lk_trainer_connect_devices(t, err));
    LK_RETURN_IF(create_lanes(t, err));
    lk_window_config config = {
        .leaves = lk_job_leaves(t->job),
        .chain = lk_job_chain(t->job),
        .microbatch = t->job->microbatch,
        .bucket_elements = t->device_comm == NULL ? LK_BUCKET_ELEMENTS : LK_DEVICE_BUCKET_ELEMENTS,
        .device_comm = t->device_comm,
        .ring = t->device_comm != NULL && t->job->reduce == LK_REDUCE_RING,
        .group = (int)t->job->sync_batchnorm,
        .graphs = t->job->cuda_graphs == LK_GRAPHS_AUTO,
        .dataset = t->dataset};
    lk_status status = lk_window_create(&t->window, t->network, t->lanes, t->comm, t->loader, &config, err);
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    LK_RETURN_IF(lk_window_enlist(t->window, err));
    set_snapshot(t);
    return LK_OK;
}

void lk_trainer_release(lk_trainer *t) {
    lk_run_folder_close(&t->folder);
    lk_free(t->checkpoints);
    lk_free(t->golden.samples);
    lk_free(t->golden.images);
    lk_free(t->golden.logits);
    lk_device_comm_free(t->device_comm); /* first: freeing what it still sends would wait for it */
    lk_window_free(t->window);
    lk_loader_free(t->loader);
    lk_lanes_free(t->lanes);
    lk_optimizer_free(t->optimizer);
    lk_network_free(t->network);
    lk_sampler_free(t->sampler);
    lk_loss_free(&t->loss);
    lk_free(t->class_counts);
    lk_training_set_free(&t->samples);
    lk_free(t->test);
    lk_dataset_free(t->dataset);
    lk_device_free(t->device);
    lk_gpu_binding_free(&t->gpus);
    lk_free(t->init_summary);
    lk_free(t->init_list);
    lk_free(t->meta_text);
    lk_free(t->job_text);
    lk_choices_free(t->recalled);
    lk_free(t->choices_text);
}
