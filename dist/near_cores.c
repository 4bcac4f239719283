#include "dist/near_cores.h"

#include <stdio.h>
#include <string.h>

bool lk_near_cores_of(hwloc_bitmap_t cores, const char *pci) {
    char path[64], list[512] = "";
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/local_cpulist", pci);
    FILE *file = pci[0] == '\0' ? NULL : fopen(path, "r");
    if (file == NULL) return false;
    bool read = fgets(list, sizeof list, file) != NULL;
    fclose(file);
    list[strcspn(list, "\n")] = '\0';
    return read && list[0] != '\0' && hwloc_bitmap_list_sscanf(cores, list) == 0 && !hwloc_bitmap_iszero(cores);
}

static int count_cores(hwloc_topology_t machine, hwloc_const_bitmap_t set) {
    return hwloc_get_nbobjs_inside_cpuset_by_type(machine, set, HWLOC_OBJ_CORE);
}

bool lk_near_cores_choose(hwloc_bitmap_t near, hwloc_topology_t machine, hwloc_const_bitmap_t own,
                          hwloc_const_bitmap_t local, int cores) {
    if (hwloc_bitmap_and(near, own, local) != 0 || hwloc_bitmap_isequal(near, own)) return false;
    return count_cores(machine, near) >= (cores > 1 ? cores : 1);
}

/* Ranks whose devices have cores beside them in common with `local`. */
static int count_sharing(const char *const *pci, int ranks, hwloc_const_bitmap_t local) {
    hwloc_bitmap_t theirs = hwloc_bitmap_alloc();
    int sharing = 0;
    for (int i = 0; theirs != NULL && i < ranks; i++)
        sharing += lk_near_cores_of(theirs, pci[i]) && hwloc_bitmap_intersects(theirs, local);
    hwloc_bitmap_free(theirs);
    return sharing;
}

int lk_near_cores_bind(const char *const *pci, int ranks, int self, int cores) {
    int bound = 0;
    hwloc_topology_t machine = NULL;
    hwloc_bitmap_t own = hwloc_bitmap_alloc(), local = hwloc_bitmap_alloc(), near = hwloc_bitmap_alloc();
    bool room = own != NULL && local != NULL && near != NULL && hwloc_topology_init(&machine) == 0;
    if (room && hwloc_topology_load(machine) == 0 && hwloc_get_cpubind(machine, own, HWLOC_CPUBIND_PROCESS) == 0 &&
        lk_near_cores_of(local, pci[self]) &&
        lk_near_cores_choose(near, machine, own, local, cores * count_sharing(pci, ranks, local)) &&
        hwloc_set_cpubind(machine, near, HWLOC_CPUBIND_THREAD) == 0)
        bound = count_cores(machine, near);
    if (machine != NULL) hwloc_topology_destroy(machine);
    hwloc_bitmap_free(own);
    hwloc_bitmap_free(local);
    hwloc_bitmap_free(near);
    return bound;
}
