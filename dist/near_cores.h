/* Cores and memory beside a GPU, for the threads that decode for it. */
#ifndef LK_DIST_NEAR_CORES_H
#define LK_DIST_NEAR_CORES_H

#include <hwloc.h>
#include <stdbool.h>

/* Cores beside a PCI device ("0000:3b:00.0"), as the kernel lists them; false: unknown. */
bool lk_near_cores_of(hwloc_bitmap_t cores, const char *pci);

/* near = those of `own` that are in `local`. Is it worth keeping to them: are they fewer than `own`, and at least the
 * `cores` that those who keep to them count on, so that none of these is lost? Pure. */
bool lk_near_cores_choose(hwloc_bitmap_t near, hwloc_topology_t machine, hwloc_const_bitmap_t own,
                          hwloc_const_bitmap_t local, int cores);

/* Binds the calling thread, and with it those that it starts from then on, to the cores beside the device within the
 * binding that the launcher gave, where lk_near_cores_choose says so; what they touch first then lies in the memory
 * beside it. pci: the devices of the node's ranks, of which `self` is this rank's; cores: that each rank counts on.
 * Returns how many cores these are; 0: nothing was changed. Not Collective. */
int lk_near_cores_bind(const char *const *pci, int ranks, int self, int cores);

#endif
