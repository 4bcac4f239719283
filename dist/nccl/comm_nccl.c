/* The only file that knows nccl.h. The communicator is not blocking: every call returns at once, and what it started is
 * over when ncclCommGetAsyncError no longer says that it is in progress. Source: NVIDIA, "NCCL documentation", Fault
 * tolerance and Group calls. */
#include "dist/nccl/comm_nccl.h"

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

#define OLDEST_SHARED 23000 /* 2.30: several ranks on one GPU, where the environment asks for it */
#define OLDEST 21800        /* 2.18: messages of a communicator that does not block, as used here */

typedef struct nccl_impl {
    lk_transport base;
    ncclComm_t comm; /* NULL: not joined, or gone */
} nccl_impl;

static nccl_impl *impl_of(lk_transport *transport) { return transport->impl; }

/* The library's words without line ends, or "" */
static void last_words(ncclComm_t comm, char *text, size_t size) {
    const char *words = ncclGetLastError(comm);
    snprintf(text, size, "%s", words == NULL ? "" : words);
    text[strcspn(text, "\n")] = '\0';
}

static lk_status check(nccl_impl *impl, ncclResult_t code, const char *call, lk_error *err) {
    char words[256];
    if (code == ncclSuccess || code == ncclInProgress) return LK_OK;
    last_words(impl->comm, words, sizeof words);
    return lk_fail(err, LK_ERR_COMM, "%s of %s failed: %s%s%s; NCCL_DEBUG=WARN tells more", call, impl->base.name,
                   ncclGetErrorString(code), words[0] == '\0' ? "" : ": ", words);
}

#define NCCL_TRY(name, arguments) LK_RETURN_IF(check(impl_of(transport), name arguments, #name, err))

_Static_assert(sizeof(ncclUniqueId) == LK_TRANSPORT_ID, "an identifier of NCCL has 128 bytes");

static lk_status make_id(lk_transport *transport, char id[LK_TRANSPORT_ID], lk_error *err) {
    ncclUniqueId unique;
    NCCL_TRY(ncclGetUniqueId, (&unique));
    memcpy(id, &unique, sizeof unique);
    return LK_OK;
}

static lk_status join(lk_transport *transport, const char id[LK_TRANSPORT_ID], int rank, int size, lk_error *err) {
    nccl_impl *impl = impl_of(transport);
    ncclUniqueId unique;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    memcpy(&unique, id, sizeof unique);
    NCCL_TRY(ncclCommInitRankConfig, (&impl->comm, size, unique, rank, &config));
    return LK_OK;
}

static lk_status poll(lk_transport *transport, bool *settled, lk_error *err) {
    nccl_impl *impl = impl_of(transport);
    ncclResult_t state = ncclSuccess;
    *settled = true;
    if (impl->comm == NULL) return LK_OK;
    NCCL_TRY(ncclCommGetAsyncError, (impl->comm, &state));
    *settled = state != ncclInProgress;
    return check(impl, state, "work", err);
}

/* Since NCCL 2.19: without them in the library their addresses are NULL. Source: NVIDIA, "NCCL documentation", User
 * Buffer Registration. */
ncclResult_t ncclCommRegister(const ncclComm_t comm, void *data, size_t bytes, void **handle) __attribute__((weak));
ncclResult_t ncclCommDeregister(const ncclComm_t comm, void *handle) __attribute__((weak));

static lk_status enlist(lk_transport *transport, void *data, int64_t bytes, void **handle, lk_error *err) {
    *handle = NULL;
    if (ncclCommRegister == NULL || ncclCommDeregister == NULL) return LK_OK;
    NCCL_TRY(ncclCommRegister, (impl_of(transport)->comm, data, (size_t)bytes, handle));
    return LK_OK;
}

static void forget(lk_transport *transport, void *handle) {
    nccl_impl *impl = impl_of(transport);
    if (impl->comm != NULL) (void)ncclCommDeregister(impl->comm, handle);
}

static lk_status group_begin(lk_transport *transport, lk_error *err) {
    NCCL_TRY(ncclGroupStart, ());
    return LK_OK;
}

static lk_status send_slice(lk_transport *transport, const void *data, int64_t bytes, int to, void *stream,
                            lk_error *err) {
    NCCL_TRY(ncclSend, (data, (size_t)bytes, ncclInt8, to, impl_of(transport)->comm, (cudaStream_t)stream));
    return LK_OK;
}

static lk_status receive_slice(lk_transport *transport, void *data, int64_t bytes, int from, void *stream,
                               lk_error *err) {
    NCCL_TRY(ncclRecv, (data, (size_t)bytes, ncclInt8, from, impl_of(transport)->comm, (cudaStream_t)stream));
    return LK_OK;
}

static lk_status group_end(lk_transport *transport, lk_error *err) {
    NCCL_TRY(ncclGroupEnd, ());
    return LK_OK;
}

static lk_status sum_ring(lk_transport *transport, float *data, int64_t count, void *stream, lk_error *err) {
    NCCL_TRY(ncclAllReduce,
             (data, data, (size_t)count, ncclFloat32, ncclSum, impl_of(transport)->comm, (cudaStream_t)stream));
    return LK_OK;
}

static lk_status leave(lk_transport *transport, lk_error *err) {
    if (impl_of(transport)->comm != NULL) NCCL_TRY(ncclCommFinalize, (impl_of(transport)->comm));
    return LK_OK;
}

static void abort_all(lk_transport *transport) {
    nccl_impl *impl = impl_of(transport);
    if (impl->comm != NULL) (void)ncclCommAbort(impl->comm);
    impl->comm = NULL;
}

static void transport_free(lk_transport *transport) {
    nccl_impl *impl = impl_of(transport);
    if (impl->comm != NULL) (void)ncclCommDestroy(impl->comm);
    lk_free(impl);
}

static const lk_transport TEMPLATE = {.make_id = make_id,
                                      .join = join,
                                      .poll = poll,
                                      .enlist = enlist,
                                      .forget = forget,
                                      .group_begin = group_begin,
                                      .send = send_slice,
                                      .receive = receive_slice,
                                      .group_end = group_end,
                                      .sum_ring = sum_ring,
                                      .leave = leave,
                                      .abort = abort_all,
                                      .free = transport_free};

lk_status lk_transport_nccl_create(lk_transport **out, bool shared, lk_error *err) {
    nccl_impl *impl = NULL;
    int version = 0;
    *out = NULL;
    if (ncclGetVersion(&version) != ncclSuccess) version = 0;
    if (version < OLDEST)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "several ranks on GPUs need NCCL 2.18 or later, and %d.%d is installed; update it, or run one "
                       "rank",
                       version / 10000, version / 100 % 100);
    if (shared && version < OLDEST_SHARED)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "ranks that share a GPU need NCCL 2.30 or later, and %d.%d is installed; update it, or start as "
                       "many ranks on a node as it has GPUs",
                       version / 10000, version / 100 % 100);
    if (shared) (void)setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0); /* NCCL reads it when ranks meet */
    LK_RETURN_IF(LK_NEW(&impl, 1, "the transport over NCCL", err));
    impl->base = TEMPLATE;
    impl->base.impl = impl;
    snprintf(impl->base.name, sizeof impl->base.name, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
    *out = &impl->base;
    return LK_OK;
}
