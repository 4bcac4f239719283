/* Transport over NCCL: a module of its own (lockstep_nccl.so), since a program linked with NCCL does not start without
 * it. */
#ifndef LK_DIST_NCCL_COMM_NCCL_H
#define LK_DIST_NCCL_COMM_NCCL_H

#include "dist/transport.h"

/* The only function that the module exports: lk_transport_create_function. Not Collective. Errors: LK_ERR_UNSUPPORTED
 * for an NCCL older than 2.18 (shared: 2.30); LK_ERR_MEMORY. */
__attribute__((visibility("default"))) lk_status lk_transport_nccl_create(lk_transport **out, bool shared,
                                                                          lk_error *err);

#endif
