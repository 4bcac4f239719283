/* Reference device: plain C in double, one loop per formula, NCHW. The oracle of every other device. */
#ifndef LK_DEVICE_REFERENCE_H
#define LK_DEVICE_REFERENCE_H
#include "device/device.h"
/* See lk_device_create. Activations, parameters and state are float64; layouts are NCHW and OIHW. */
LK_MUST_CHECK lk_status lk_device_reference_create(lk_device **out, int threads, lk_error *err);
#endif
