/* What is decided once: routes, trees, buckets and their scratch. */
#include "core/memory.h"
#include "dist/reducer_internal.h"

static lk_status check_config(const lk_comm *comm, const lk_reducer_config *config, lk_error *err) {
    if (!lk_tree_ranks_ok(config->leaves, comm->size)) {
        char list[256];
        return lk_fail(err, LK_ERR_CONFIG,
                       "%d ranks cannot share %d microbatches as subtrees: start one of %s ranks, or change batch or "
                       "microbatch",
                       comm->size, config->leaves, lk_tree_ranks_print(config->leaves, list, sizeof list));
    }
    if (config->dtype != LK_F32 && config->dtype != LK_F64)
        return lk_fail(err, LK_ERR_INTERNAL, "gradients of type %s cannot be summed", lk_dtype_name(config->dtype));
    if (config->buckets < 1 || config->buckets > MAX_BUCKETS)
        return lk_fail(err, LK_ERR_CONFIG, "%d gradient buckets: there must be 1 to %d", config->buckets, MAX_BUCKETS);
    if (config->ring && (config->device_comm == NULL || config->dtype != LK_F32))
        return lk_fail(err, LK_ERR_INTERNAL, "a ring sums float32 gradients in device memory alone");
    int64_t last = 0;
    for (int i = 0; i < config->buckets; i++) {
        int64_t begin = config->bucket_begins != NULL ? config->bucket_begins[i] : last;
        if (begin < last || config->bucket_ends[i] < begin)
            return lk_fail(err, LK_ERR_INTERNAL, "gradient bucket %d ends before it starts", i);
        last = config->bucket_ends[i];
    }
    if (last > config->count || (config->bucket_begins == NULL && last != config->count))
        return lk_fail(err, LK_ERR_INTERNAL, "the gradient buckets do not end with the slab");
    return LK_OK;
}

static lk_status create_route(lk_reducer *r, lk_error *err) {
    lk_status status = LK_OK;
    lk_comm *comm = r->comm;
    int *nodes = NULL;
    LK_TRY(LK_NEW(&nodes, comm->size, "the routes of gradients", err));
    LK_TRY(lk_comm_allgather(comm, &comm->node, nodes, sizeof *nodes, err));
    LK_TRY(lk_route_create(&r->route, r->leaves, comm->size, nodes, err));
    r->stats.levels = r->route.levels;
out:
    lk_free(nodes);
    return status;
}

static lk_status create_sums(lk_reducer *r, lk_error *err) {
    lk_status status = LK_OK;
    lk_span *spans = NULL;
    int ranks = r->route.ranks;
    LK_TRY(LK_NEW(&spans, ranks, "the tree of sums", err));
    for (int rank = 0; rank < ranks; rank++) spans[rank] = lk_tree_share(r->leaves, ranks, rank);
    lk_span node = lk_route_node_span(&r->route, r->leaves, own_node(r));
    LK_TRY(lk_sum_tree_create(&r->within, node, spans + node_begin(r), node_end(r) - node_begin(r), err));
    for (int k = 0; k < r->route.node_count; k++) spans[k] = lk_route_node_span(&r->route, r->leaves, k);
    LK_TRY(lk_sum_tree_create(&r->across, (lk_span){0, r->leaves}, spans, r->route.node_count, err));
out:
    lk_free(spans);
    return status;
}

/* Bytes of scratch of one bucket, in whole lines. */
static size_t bucket_scratch(const lk_reducer *r, const bucket *b) {
    int slice = owned_slice(r);
    int64_t elements =
        (node_end(r) - node_begin(r) - 1) * b->handled + (r->route.node_count - 1) * run_count(r, b, slice, slice + 1);
    return lk_round_up((size_t)elements * r->size);
}

static lk_status alloc_scratch(lk_reducer *r, size_t bytes, lk_error *err) {
    if (r->device_comm == NULL) return lk_alloc((void **)&r->scratch, bytes, 1, "gradient exchange", err);
    return r->device->alloc(r->device, (void **)&r->scratch, (int64_t)bytes, "gradient exchange", err);
}

static lk_status create_buckets(lk_reducer *r, const lk_reducer_config *config, lk_error *err) {
    /* Of a stage: at most one message to each handled run's peer and one from it, and those of foreign slices. */
    r->room = 4 * r->route.ranks;
    size_t bytes = 0;
    LK_RETURN_IF(LK_NEW(&r->buckets, r->bucket_count, "gradient buckets", err));
    LK_RETURN_IF(LK_NEW(&r->requests, (int64_t)r->bucket_count * r->room, "gradient buckets", err));
    LK_RETURN_IF(LK_NEW(&r->terms, r->route.ranks, "gradient buckets", err));
    for (int i = 0; i < r->bucket_count; i++) {
        bucket *b = &r->buckets[i];
        b->first = i == 0 ? 0 : config->bucket_ends[i - 1];
        if (config->bucket_begins != NULL) b->first = config->bucket_begins[i];
        b->count = config->bucket_ends[i] - b->first;
        b->requests = r->requests + (size_t)i * (size_t)r->room;
        for (int first = 0, end = 0; lk_route_next_run(&r->route, r->comm->rank, &first, &end);)
            b->handled += run_count(r, b, first, end);
        bytes += bucket_scratch(r, b);
        r->proving = r->proving || b->count >= SLICE_ALIGNMENT * (int64_t)r->route.ranks;
    }
    LK_RETURN_IF(alloc_scratch(r, bytes, err));
    r->scratch_bytes = (int64_t)bytes;
    bytes = 0;
    for (int i = 0; i < r->bucket_count; i++) {
        r->buckets[i].scratch = r->scratch + bytes;
        bytes += bucket_scratch(r, &r->buckets[i]);
    }
    return LK_OK;
}

lk_status lk_reducer_create(lk_reducer **out, lk_comm *comm, const lk_reducer_config *config, lk_error *err) {
    lk_status status = LK_OK;
    lk_reducer *r = NULL;
    *out = NULL;
    LK_TRY(check_config(comm, config, err));
    LK_TRY(LK_NEW(&r, 1, "the gradient reducer", err));
    r->comm = comm;
    r->leaves = config->leaves;
    r->bucket_count = config->buckets;
    r->dtype = config->dtype;
    r->device_comm = config->device_comm;
    r->device = config->device_comm == NULL ? NULL : config->device_comm->device;
    r->after = config->after;
    r->ring = config->ring;
    r->size = lk_dtype_size(config->dtype);
    LK_TRY(create_route(r, err));
    LK_TRY(create_sums(r, err));
    LK_TRY(create_buckets(r, config, err));
    *out = r;
    r = NULL;
out:
    lk_reducer_free(r);
    return status;
}

lk_status lk_reducer_enlist(lk_reducer *r, void *slab, int64_t bytes, lk_error *err) {
    const lk_device_area areas[] = {{slab, bytes}, {r->scratch, r->scratch_bytes}};
    if (r->device_comm == NULL) return LK_OK;
    return lk_device_comm_enlist(r->device_comm, areas, 2, err);
}

void lk_reducer_free(lk_reducer *r) {
    if (r == NULL) return;
    bool open = false;
    for (int i = 0; r->buckets != NULL && i < r->bucket_count; i++) open = open || r->buckets[i].open > 0;
    /* After a failure messages may still arrive in the scratch: it stays until the process ends, very soon. */
    if (r->device != NULL && r->scratch != NULL)
        r->device->release(r->device, r->scratch);
    else if (!open)
        lk_free(r->scratch);
    lk_sum_tree_free(&r->within);
    lk_sum_tree_free(&r->across);
    lk_route_free(&r->route);
    lk_free(r->terms);
    lk_free(r->buckets);
    lk_free(r->requests);
    lk_free(r);
}
