#include "dist/reduce_route.h"

#include "core/memory.h"

static int node_size(const lk_route *route, int node) { return route->node_first[node + 1] - route->node_first[node]; }

lk_span lk_route_node_span(const lk_route *route, int leaves, int node) {
    int share = leaves / route->ranks;
    return (lk_span){route->node_first[node] * share, node_size(route, node) * share};
}

static void use_nodes(lk_route *route, const int *nodes) {
    route->node_count = 0;
    for (int rank = 0; rank < route->ranks; rank++) {
        if (rank == 0 || nodes[rank] != nodes[rank - 1]) route->node_first[route->node_count++] = rank;
        route->node_of[rank] = route->node_count - 1;
    }
    route->node_first[route->node_count] = route->ranks;
}

static void use_one_node(lk_route *route) {
    route->node_count = 1;
    route->node_first[0] = 0;
    route->node_first[1] = route->ranks;
    for (int rank = 0; rank < route->ranks; rank++) route->node_of[rank] = 0;
}

static bool two_levels_work(const lk_route *route, int leaves) {
    if (route->node_count < 2 || route->node_count == route->ranks) return false;
    for (int node = 0; node < route->node_count; node++)
        if (!lk_tree_is_node(leaves, lk_route_node_span(route, leaves, node))) return false;
    return true;
}

lk_status lk_route_create(lk_route *route, int leaves, int ranks, const int *nodes, lk_error *err) {
    *route = (lk_route){.ranks = ranks};
    LK_RETURN_IF(LK_NEW(&route->node_first, (int64_t)ranks + 1, "the routes of gradients", err));
    LK_RETURN_IF(LK_NEW(&route->owner, ranks, "the routes of gradients", err));
    LK_RETURN_IF(LK_NEW(&route->node_of, ranks, "the routes of gradients", err));
    use_nodes(route, nodes);
    route->levels = two_levels_work(route, leaves) ? 2 : 1;
    if (route->levels == 1) use_one_node(route);

    int slice = 0;
    for (int local = 0; slice < ranks; local++)
        for (int node = 0; node < route->node_count; node++)
            if (local < node_size(route, node)) route->owner[slice++] = route->node_first[node] + local;
    return LK_OK;
}

void lk_route_free(lk_route *route) {
    lk_free(route->node_first);
    lk_free(route->owner);
    lk_free(route->node_of);
    *route = (lk_route){0};
}

int lk_route_handler(const lk_route *route, int node, int slice) {
    int owner = route->owner[slice];
    int local = owner - route->node_first[route->node_of[owner]];
    return route->node_first[node] + local % node_size(route, node);
}

bool lk_route_next_run(const lk_route *route, int rank, int *first, int *end) {
    int node = route->node_of[rank];
    int slice = *end;
    while (slice < route->ranks && lk_route_handler(route, node, slice) != rank) slice++;
    *first = slice;
    while (slice < route->ranks && lk_route_handler(route, node, slice) == rank) slice++;
    *end = slice;
    return *first < *end;
}
