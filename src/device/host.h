/* What a device needs whose memory is the host's and whose calls block: copies are done when asked for, and so is
 * everything that an event stands for. */
#ifndef LK_DEVICE_HOST_H
#define LK_DEVICE_HOST_H

#include "device/device.h"

/* Fills in host_alloc, host_release, the copies of streams, the events and gathering. Streams for copies are NULL,
 * events are NULL, and both are never read. */
void lk_device_host_install(lk_device *device);

#endif
