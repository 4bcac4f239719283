/* finish_gradients of lk_device: what backward left of the weights' gradients, gathered into one launch. The launch has
 * its list in its arguments, so that a captured one needs nothing of the host. */
#include "device/cuda/cuda_internal.h"

/* The list is empty afterwards in any case: a pass that failed leaves nothing to the next. */
static lk_status flush(lk_stream *stream, lk_error *err) {
    lk_cuda_finish *f = &stream->finish;
    if (f->count == 0) return LK_OK;
    int code = lk_cuda_finish_run(stream->cuda, f);
    f->count = f->blocks = 0;
    return lk_cuda_check(code, "finish_gradients", err);
}

lk_status lk_cuda_leave_unfinished(lk_stream *stream, lk_cuda_type type, const lk_cuda_unfinished *unfinished,
                                   lk_error *err) {
    lk_cuda_finish *f = &stream->finish;
    int64_t blocks = lk_cuda_finish_blocks(unfinished);
    if (blocks > INT32_MAX / 2) return lk_fail(err, LK_ERR_INTERNAL, "a gradient has too many elements for one launch");
    if (f->count == LK_CUDA_UNFINISHED || (f->count > 0 && (f->type != type || f->blocks > INT32_MAX / 2)))
        LK_RETURN_IF(flush(stream, err));
    f->type = type;
    f->all[f->count] = *unfinished;
    f->all[f->count++].first_block = f->blocks;
    f->blocks += (int)blocks;
    return LK_OK;
}

static lk_status finish_gradients(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    return flush(stream, err);
}

void lk_cuda_finish_install(lk_device *device) {
    device->finish_gradients = finish_gradients;
    device->finished_at_once = LK_CUDA_UNFINISHED;
}
