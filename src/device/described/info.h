/* What an op on the GPU moves, computes and keeps, from its description alone. */
#ifndef LK_DEVICE_DESCRIBED_INFO_H
#define LK_DEVICE_DESCRIBED_INFO_H

#include "device/ops.h"

/* Fills *info of an op whose settings are possible. Pure. */
void lk_described_info(const lk_op_desc *desc, lk_op_info *info);
/* As lk_device.fuses. Pure. */
bool lk_described_fuses(const lk_op_desc *desc);

#endif
