/* The reducer in the memory of stand-in GPUs, over NCCL: many buckets, submitted in orders that differ, each of them
 * completed only by work that is still on the lane's stream. The bits are those of one rank that computes the whole
 * tree (P5), for faked node shapes and tails. */
#include "dist/reducer.h"

#include <string.h>

#include "core/memory.h"
#include "tests/mpi/check.h"
#include "tests/mpi/leaf_tree.h"

#define COUNT 5003
#define MOST_BUCKETS 7

typedef struct fixture {
    lk_comm *comm;
    lk_device *device;
    lk_device_comm *device_comm;
    lk_stream *lane;
    float *slab, *second; /* device memory */
    float *host;          /* 2 x COUNT */
} fixture;

/* Two numbers whose sum is the leaf's: neither alone is it. */
static float leaf_part(int leaf, int64_t i, int part) { return made_up(2 * leaf + part, i); }
static float leaf_value(int leaf, int64_t i) { return leaf_part(leaf, i, 0) + leaf_part(leaf, i, 1); }

/* A rank has one leaf. Its slab begins with the first parts; the second are added by the lane, bucket by bucket. */
static void upload_parts(fixture *f, int leaf, bool present) {
    lk_device *device = f->device;
    for (int part = 0; part < 2; part++)
        for (int64_t i = 0; i < COUNT; i++) f->host[part * COUNT + i] = present ? leaf_part(leaf, i, part) : NAN;
    CHECK_OK(f->comm, device->upload(device, f->slab, f->host, COUNT * (int64_t)sizeof(float), err));
    CHECK_OK(f->comm, device->upload(device, f->second, f->host + COUNT, COUNT * (int64_t)sizeof(float), err));
}

static void check_total(fixture *f, int leaves, int present) {
    lk_device *device = f->device;
    CHECK_OK(f->comm, device->download(device, f->host, f->slab, COUNT * (int64_t)sizeof(float), err));
    for (int64_t i = 0; i < COUNT; i++) {
        float expected = 0;
        tree_value(leaf_value, (lk_span){0, leaves}, present, i, &expected);
        CHECK(f->comm, memcmp(&expected, &f->host[i], sizeof expected) == 0);
    }
}

static void test_case(fixture *f, int buckets, int present) {
    lk_reducer *reducer = NULL;
    lk_comm *comm = f->comm;
    int64_t ends[MOST_BUCKETS];
    int leaves = comm->size;
    for (int b = 0; b < buckets; b++) ends[b] = COUNT * (int64_t)(b + 1) / buckets;
    lk_reducer_config config = {.leaves = leaves,
                                .count = COUNT,
                                .dtype = LK_F32,
                                .bucket_ends = ends,
                                .buckets = buckets,
                                .device_comm = f->device_comm,
                                .after = f->lane};
    CHECK_OK(comm, lk_reducer_create(&reducer, comm, &config, err));
    upload_parts(f, comm->rank, comm->rank < present);
    CHECK_OK(comm, lk_reducer_begin(reducer, f->slab, present, err));
    for (int k = 0; k < buckets; k++) {
        int b = (k + comm->rank) % buckets;
        int64_t first = b == 0 ? 0 : ends[b - 1];
        CHECK_OK(comm,
                 f->device->slab_add(f->device, f->lane, f->slab + first, f->second + first, ends[b] - first, err));
        CHECK_OK(comm, lk_reducer_submit(reducer, b, err));
        CHECK_OK(comm, lk_reducer_poll(reducer, err));
    }
    CHECK_OK(comm, lk_reducer_wait(reducer, err));
    check_total(f, leaves, present);
    lk_reducer_free(reducer);
}

/* Pretends that `per_node` consecutive ranks share a node. */
static void fake_nodes(lk_comm *comm, int per_node) {
    comm->node = comm->rank / per_node;
    comm->node_count = (comm->size + per_node - 1) / per_node;
}

static void open_all(fixture *f) {
    int64_t bytes = COUNT * (int64_t)sizeof(float);
    CHECK_OK(f->comm, lk_device_create_on(&f->device, "cuda", f->comm->rank, 1, err));
    CHECK_OK(f->comm, f->device->stream_create(f->device, &f->lane, err));
    CHECK_OK(f->comm, f->device->alloc(f->device, (void **)&f->slab, bytes, "a slab", err));
    CHECK_OK(f->comm, f->device->alloc(f->device, (void **)&f->second, bytes, "a slab", err));
    CHECK_OK(f->comm, LK_NEW(&f->host, 2 * COUNT, "a slab", err));
    CHECK_OK(f->comm, lk_device_comm_create(&f->device_comm, f->comm, f->device, false, err));
}

static void close_all(fixture *f) {
    lk_device_comm_free(f->device_comm);
    f->device->release(f->device, f->slab);
    f->device->release(f->device, f->second);
    f->device->stream_free(f->device, f->lane);
    lk_device_free(f->device);
    lk_free(f->host);
}

int main(void) {
    fixture f = {0};
    lk_error err = {0};
    int cases = 0;
    if (lk_comm_mpi_create(&f.comm, &err) != LK_OK) {
        fprintf(stderr, "FAILED: %s\n", err.message);
        return 1;
    }
    open_all(&f);
    lk_comm truth = *f.comm;
    for (int per_node = 1; per_node <= f.comm->size; per_node++)
        for (int buckets = 1; buckets <= MOST_BUCKETS; buckets += 3) {
            fake_nodes(f.comm, per_node);
            test_case(&f, buckets, f.comm->size - cases % f.comm->size);
            cases++;
        }
    f.comm->node = truth.node;
    f.comm->node_count = truth.node_count;
    if (f.comm->rank == 0) printf("%d cases passed on %d ranks\n", cases, f.comm->size);
    close_all(&f);
    lk_comm_free(f.comm);
    return 0;
}
