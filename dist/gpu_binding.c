#include "dist/gpu_binding.h"

#include <hwloc.h>
#include <string.h>

#include "core/memory.h"
#include "dist/near_cores.h"

#define FULL_MAP_RANKS 16

#define UUID_TEXT 41 /* "GPU-", 36 characters, and the end */

/* As nvidia-smi writes it; returns text. */
static char *uuid_text(const lk_gpu *gpu, char text[UUID_TEXT]) {
    int used = snprintf(text, UUID_TEXT, "GPU-");
    for (int i = 0; i < LK_GPU_UUID; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        used += snprintf(text + used, (size_t)(UUID_TEXT - used), "%s%02x", dash ? "-" : "", gpu->uuid[i]);
    }
    return text;
}

/* ---- what is near ---- */

/* Cores that this process is bound to; false: unknown. */
static bool bound_cores(hwloc_bitmap_t cores) {
    hwloc_topology_t machine = NULL;
    if (hwloc_topology_init(&machine) != 0) return false;
    hwloc_topology_set_all_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
    bool known = hwloc_topology_load(machine) == 0 && hwloc_get_cpubind(machine, cores, HWLOC_CPUBIND_PROCESS) == 0 &&
                 !hwloc_bitmap_iszero(cores);
    hwloc_topology_destroy(machine);
    return known;
}

void lk_gpu_view_locate(lk_gpu_view *view) {
    hwloc_bitmap_t own = hwloc_bitmap_alloc(), cores = hwloc_bitmap_alloc();
    bool known = own != NULL && cores != NULL && bound_cores(own);
    for (int i = 0; i < view->count; i++) {
        bool apart = known && lk_near_cores_of(cores, view->gpus[i].pci) && !hwloc_bitmap_intersects(own, cores);
        view->near[i] = !apart;
    }
    hwloc_bitmap_free(own);
    hwloc_bitmap_free(cores);
}

/* ---- choice ---- */

/* All that the choice goes by. */
typedef struct chooser {
    lk_gpu_choice *choices; /* ordinal -1: not chosen yet */
    const lk_gpu_view *views;
    const int *nodes;
    const char *const *hosts;
    int ranks;
    bool share;
} chooser;

static bool same_gpu(const lk_gpu *a, const lk_gpu *b) { return memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0; }

/* Ranks of the same node that have this GPU. *first: the first of them. */
static int holders(const chooser *c, int node, const lk_gpu *gpu, int *first) {
    int count = 0;
    for (int rank = 0; rank < c->ranks; rank++)
        if (c->choices[rank].ordinal >= 0 && c->nodes[rank] == node && same_gpu(&c->choices[rank].gpu, gpu))
            if (count++ == 0) *first = rank;
    return count;
}

static void take(chooser *c, int rank, int ordinal) {
    c->choices[rank] = (lk_gpu_choice){ordinal, c->views[rank].count, c->views[rank].gpus[ordinal]};
}

static lk_status take_only(chooser *c, int rank, lk_error *err) {
    const lk_gpu *gpu = &c->views[rank].gpus[0];
    char uuid[UUID_TEXT];
    int other = 0;
    if (holders(c, c->nodes[rank], gpu, &other) > 0 && !c->share)
        return lk_fail(err, LK_ERR_CONFIG,
                       "ranks %d and %d (%s) see one and the same GPU, %s %s: start as many ranks on a node as it has "
                       "GPUs, show each another one (srun --gpus-per-task=1), or let them share with --share-gpus",
                       other, rank, c->hosts[rank], gpu->name, uuid_text(gpu, uuid));
    take(c, rank, 0);
    return LK_OK;
}

static lk_status take_free(chooser *c, int rank, lk_error *err) {
    const lk_gpu_view *view = &c->views[rank];
    int best = -1, fewest = 0, first;
    for (int i = 0; i < view->count; i++) {
        int others = holders(c, c->nodes[rank], &view->gpus[i], &first);
        if (others > 0 && !c->share) continue;
        bool fewer = others < fewest, nearer = others == fewest && best >= 0 && view->near[i] && !view->near[best];
        if (best >= 0 && !fewer && !nearer) continue;
        best = i;
        fewest = others;
    }
    if (best < 0) {
        int sharing = 0;
        for (int other = 0; other < c->ranks; other++) sharing += c->nodes[other] == c->nodes[rank];
        return lk_fail(err, LK_ERR_CONFIG,
                       "rank %d (%s) has no GPU of its own: %d ranks of the node share the %d that it sees; start as "
                       "many ranks on a node as it has GPUs, or let them share with --share-gpus",
                       rank, c->hosts[rank], sharing, view->count);
    }
    take(c, rank, best);
    return LK_OK;
}

static lk_status check_kinds(const chooser *c, lk_error *err) {
    for (int rank = 1; rank < c->ranks; rank++)
        if (strcmp(c->choices[rank].gpu.name, c->choices[0].gpu.name) != 0)
            return lk_fail(
                err, LK_ERR_CONFIG,
                "rank %d (%s) has a GPU of another kind than rank 0 (%s): %s and %s compute other bits; show "
                "the ranks GPUs of one kind (CUDA_VISIBLE_DEVICES, sbatch --constraint)",
                rank, c->hosts[rank], c->hosts[0], c->choices[rank].gpu.name, c->choices[0].gpu.name);
    return LK_OK;
}

lk_status lk_gpu_choose(lk_gpu_choice *choices, const lk_gpu_view *views, const int *nodes, const char *const *hosts,
                        int ranks, bool share, lk_error *err) {
    chooser c = {choices, views, nodes, hosts, ranks, share};
    for (int rank = 0; rank < ranks; rank++) choices[rank].ordinal = -1;
    for (int rank = 0; rank < ranks; rank++)
        if (views[rank].count < 1)
            return lk_fail(err, LK_ERR_CONFIG,
                           "device cuda finds no GPU for rank %d (%s): ask for one for every rank (srun "
                           "--gpus-per-task=1), look at CUDA_VISIBLE_DEVICES, or use device: cpu",
                           rank, hosts[rank]);
    /* Those who have no choice first. */
    for (int rank = 0; rank < ranks; rank++)
        if (views[rank].count == 1) LK_RETURN_IF(take_only(&c, rank, err));
    for (int rank = 0; rank < ranks; rank++)
        if (views[rank].count > 1) LK_RETURN_IF(take_free(&c, rank, err));
    return check_kinds(&c, err);
}

/* ---- of all ranks ---- */

static lk_status gather(lk_gpu_view **views, int **nodes, lk_comm *comm, const lk_gpu_view *mine, lk_error *err) {
    LK_RETURN_IF(LK_NEW(views, comm->size, "the map of GPUs", err));
    LK_RETURN_IF(LK_NEW(nodes, comm->size, "the map of GPUs", err));
    LK_RETURN_IF(lk_comm_allgather(comm, mine, *views, sizeof *mine, err));
    return lk_comm_allgather(comm, &comm->node, *nodes, sizeof **nodes, err);
}

/* Does any rank compute on the GPU of one before it? */
static bool some_share(const lk_gpu_binding *binding, const int *nodes) {
    chooser all = {.choices = binding->choices, .nodes = nodes, .ranks = binding->comm->size};
    bool share = false;
    int first;
    for (int rank = 0; rank < all.ranks; rank++)
        share = share || holders(&all, nodes[rank], &all.choices[rank].gpu, &first) > 1;
    return share;
}

lk_status lk_gpu_binding_create(lk_gpu_binding *binding, lk_comm *comm, const lk_gpu_view *mine, bool share,
                                lk_error *err) {
    lk_status status;
    lk_gpu_view *views = NULL;
    int *nodes = NULL;
    *binding = (lk_gpu_binding){.comm = comm};
    LK_TRY(gather(&views, &nodes, comm, mine, err));
    status = LK_NEW(&binding->choices, comm->size, "the map of GPUs", err);
    if (status == LK_OK) status = lk_gpu_choose(binding->choices, views, nodes, comm->hosts, comm->size, share, err);
    if (status == LK_OK) binding->shared = some_share(binding, nodes);
    status = lk_comm_agree(comm, status, err);
out:
    lk_free(views);
    lk_free(nodes);
    return status;
}

void lk_gpu_binding_free(lk_gpu_binding *binding) {
    lk_free(binding->choices);
    binding->choices = NULL;
}

void lk_gpu_binding_print(const lk_gpu_binding *binding, FILE *out) {
    char uuid[UUID_TEXT];
    int size = binding->comm->size;
    for (int rank = 0; size <= FULL_MAP_RANKS && rank < size; rank++) {
        const lk_gpu_choice *choice = &binding->choices[rank];
        fprintf(out, "rank %d: %s, GPU %d of %d, %s, %s\n", rank, binding->comm->hosts[rank], choice->ordinal,
                choice->seen, choice->gpu.name, uuid_text(&choice->gpu, uuid));
    }
    for (int first = 0, end = 0; size > FULL_MAP_RANKS && first < size; first = end) {
        while (end < size && strcmp(binding->comm->hosts[end], binding->comm->hosts[first]) == 0) end++;
        fprintf(out, "ranks %d to %d: %s, one %s each\n", first, end - 1, binding->comm->hosts[first],
                binding->choices[first].gpu.name);
    }
    if (binding->shared) fputs("ranks share GPUs (--share-gpus), which saves no time\n", out);
}
