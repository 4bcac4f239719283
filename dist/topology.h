/* Which cores this process and its neighbours may use: for the map that is printed at start and for the warnings about
 * too few and idle cores (P21). */
#ifndef LK_DIST_TOPOLOGY_H
#define LK_DIST_TOPOLOGY_H

#include <stdio.h>

#include "dist/comm.h"

/* Cores that this process is bound to (by hwloc; processing units where cores are unknown), at most what its control
 * group grants. Not Collective. Errors: LK_ERR_UNSUPPORTED when hwloc cannot tell. */
LK_MUST_CHECK lk_status lk_topology_cores(int *cores, lk_error *err);

typedef struct lk_place {
    int32_t node;
    int32_t bound;     /* cores in the rank's binding */
    int32_t share;     /* cores it can count on: ranks with the same binding divide it; at least 1 */
    int32_t available; /* cores of its node, bound or not, within its control group */
    int64_t process;
    uint64_t binding; /* equal where the bindings are */
} lk_place;

typedef struct lk_topology {
    const lk_comm *comm; /* borrowed */
    lk_place *places;    /* one per rank */
} lk_topology;

/* Gathers the places of all ranks. Owner of *topology: the caller, with lk_topology_free. Collective.
 * Errors: LK_ERR_MEMORY, LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_topology_create(lk_topology *topology, lk_comm *comm, lk_error *err);
void lk_topology_free(lk_topology *topology);

/* Cores of a node that no rank's binding covers, when each rank counts on its share. Not Collective. */
int lk_topology_idle_cores(const lk_topology *topology, int node, int threads_per_rank);

/* Prints rank, host, process and cores, one line per rank; more than 16 ranks: one line per node. Not Collective. */
void lk_topology_print(const lk_topology *topology, FILE *out);

#endif
