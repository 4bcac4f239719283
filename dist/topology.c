#include "dist/topology.h"

#include <hwloc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"

#define FULL_MAP_RANKS 16

/* Cores granted by a control group ("200000 100000": two), INT_MAX where unlimited. */
static int group_cores(void) {
    char quota[32] = "";
    double period = 0;
    int cores = INT_MAX;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file == NULL) return cores;
    if (fscanf(file, "%31s %lf", quota, &period) == 2 && strcmp(quota, "max") != 0 && period > 0) {
        double granted = strtod(quota, NULL) / period;
        if (granted < 1) granted = 1;
        if (granted < INT_MAX) cores = (int)(granted + 0.5);
    }
    fclose(file);
    return cores;
}

static int count_cores(hwloc_topology_t machine, hwloc_const_cpuset_t set) {
    int cores = 0;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_CORE, core)) != NULL;)
        cores += hwloc_bitmap_intersects(core->cpuset, set);
    if (cores == 0) cores = hwloc_bitmap_weight(set);
    return cores > 0 ? cores : 1;
}

/* FNV-1a of the set's text. */
static uint64_t set_digest(hwloc_const_cpuset_t set) {
    char *text = NULL;
    uint64_t hash = UINT64_C(14695981039346656037);
    if (hwloc_bitmap_asprintf(&text, set) < 0) return 0;
    for (const char *c = text; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    free(text);
    return hash;
}

static int smaller(int a, int b) { return a < b ? a : b; }

static void fill_place(lk_place *place, hwloc_topology_t machine, hwloc_cpuset_t bound) {
    /* A process may be bound to what it isn't allowed to use; an unbound one reports the whole machine. */
    hwloc_const_cpuset_t allowed = hwloc_topology_get_topology_cpuset(machine);
    if (hwloc_get_cpubind(machine, bound, HWLOC_CPUBIND_PROCESS) != 0 || hwloc_bitmap_iszero(bound))
        hwloc_bitmap_copy(bound, allowed);
    int group = group_cores();
    place->bound = smaller(count_cores(machine, bound), group);
    place->available = smaller(count_cores(machine, allowed), group);
    place->share = place->bound;
    place->binding = set_digest(bound);
    place->process = getpid();
}

static lk_status own_place(lk_place *place, lk_error *err) {
    hwloc_topology_t machine = NULL;
    if (hwloc_topology_init(&machine) != 0)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "hwloc cannot describe this machine's cores");
    hwloc_cpuset_t bound = hwloc_bitmap_alloc();
    hwloc_topology_set_all_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(machine, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    lk_status status = LK_OK;
    if (bound == NULL || hwloc_topology_load(machine) != 0)
        status = lk_fail(err, LK_ERR_UNSUPPORTED, "hwloc cannot describe this machine's cores");
    else
        fill_place(place, machine, bound);
    hwloc_bitmap_free(bound);
    hwloc_topology_destroy(machine);
    return status;
}

lk_status lk_topology_cores(int *cores, lk_error *err) {
    lk_place place = {0};
    LK_RETURN_IF(own_place(&place, err));
    *cores = place.bound;
    return LK_OK;
}

static void divide_shared(lk_place *places, int count) {
    for (int i = 0; i < count; i++) {
        int sharing = 0;
        for (int j = 0; j < count; j++)
            sharing += places[j].node == places[i].node && places[j].binding == places[i].binding;
        places[i].share = places[i].bound / sharing > 0 ? places[i].bound / sharing : 1;
    }
}

lk_status lk_topology_create(lk_topology *topology, lk_comm *comm, lk_error *err) {
    lk_place mine = {.node = comm->node};
    *topology = (lk_topology){.comm = comm};
    lk_status status = LK_NEW(&topology->places, comm->size, "the map of ranks", err);
    if (status == LK_OK) status = own_place(&mine, err);
    LK_RETURN_IF(lk_comm_agree(comm, status, err));
    LK_RETURN_IF(lk_comm_allgather(comm, &mine, topology->places, sizeof mine, err));
    divide_shared(topology->places, comm->size);
    return LK_OK;
}

void lk_topology_free(lk_topology *topology) {
    lk_free(topology->places);
    topology->places = NULL;
}

int lk_topology_idle_cores(const lk_topology *topology, int node, int threads_per_rank) {
    int available = 0, used = 0;
    for (int rank = 0; rank < topology->comm->size; rank++) {
        if (topology->places[rank].node != node) continue;
        available = topology->places[rank].available;
        used += smaller(topology->places[rank].share, threads_per_rank);
    }
    return used < available ? available - used : 0;
}

static void print_rank(const lk_topology *topology, int rank, FILE *out) {
    const lk_place *place = &topology->places[rank];
    fprintf(out, "rank %d: %s, process %lld, %d core%s", rank, topology->comm->hosts[rank], (long long)place->process,
            place->bound, place->bound == 1 ? "" : "s");
    if (place->share < place->bound) fprintf(out, " shared with other ranks (%d each)", place->share);
    fprintf(out, "\n");
}

void lk_topology_print(const lk_topology *topology, FILE *out) {
    int size = topology->comm->size;
    if (size <= FULL_MAP_RANKS) {
        for (int rank = 0; rank < size; rank++) print_rank(topology, rank, out);
        return;
    }
    for (int first = 0, end = 0; first < size; first = end) {
        int least = INT_MAX;
        while (end < size && topology->places[end].node == topology->places[first].node)
            least = smaller(least, topology->places[end++].share);
        fprintf(out, "ranks %d to %d: %s, %d core%s each\n", first, end - 1, topology->comm->hosts[first], least,
                least == 1 ? "" : "s");
    }
}
