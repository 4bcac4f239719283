#include "device/cpu/dnnl_util.h"

#include <string.h>

#include "core/memory.h"

lk_status lk_dnnl_check(dnnl_status_t code, const char *call, lk_error *err) {
    if (code == dnnl_success) return LK_OK;
    int length = (int)strcspn(call, "(");
    if (code == dnnl_out_of_memory)
        return lk_fail(err, LK_ERR_MEMORY, "oneDNN ran out of memory in %.*s", length, call);
    if (code == dnnl_unimplemented)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "oneDNN has no implementation for %.*s", length, call);
    return lk_fail(err, LK_ERR_DEVICE, "oneDNN call %.*s failed with status %d", length, call, (int)code);
}

dnnl_data_type_t lk_dnnl_dtype(lk_dtype dtype) { return dtype == LK_BF16 ? dnnl_bf16 : dnnl_f32; }

lk_status lk_dnnl_act_md(dnnl_memory_desc_t *out, const lk_act_desc *d, lk_error *err) {
    dnnl_dims_t dims = {d->n, d->c, d->h, d->w};
    dnnl_data_type_t type = lk_dnnl_dtype(d->dtype);
    const char *call = "dnnl_memory_desc_create";
    if (d->block == 1) return lk_dnnl_check(dnnl_memory_desc_create_with_tag(out, 4, dims, type, dnnl_nchw), call, err);
    if (d->block == d->c && d->c != 8 && d->c != 16)
        return lk_dnnl_check(dnnl_memory_desc_create_with_tag(out, 4, dims, type, dnnl_nhwc), call, err);
    if (d->block == 8 || d->block == 16) {
        dnnl_format_tag_t tag = d->block == 8 ? dnnl_nChw8c : dnnl_nChw16c;
        return lk_dnnl_check(dnnl_memory_desc_create_with_tag(out, 4, dims, type, tag), call, err);
    }
    return lk_fail(err, LK_ERR_UNSUPPORTED, "oneDNN has no layout with blocks of %lld channels", (long long)d->block);
}

lk_status lk_dnnl_act_any(dnnl_memory_desc_t *out, const lk_act_desc *d, lk_error *err) {
    dnnl_dims_t dims = {d->n, d->c, d->h, d->w};
    return lk_dnnl_check(dnnl_memory_desc_create_with_tag(out, 4, dims, lk_dnnl_dtype(d->dtype), dnnl_format_tag_any),
                         "dnnl_memory_desc_create", err);
}

int64_t lk_dnnl_act_block(const_dnnl_memory_desc_t md) {
    int ndims = 0, data_type = 0;
    dnnl_dims_t *dims = NULL;
    if (dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &ndims) != dnnl_success || ndims != 4 ||
        dnnl_memory_desc_query(md, dnnl_query_dims, &dims) != dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_data_type, &data_type) != dnnl_success)
        return 0;
    const dnnl_format_tag_t tags[] = {dnnl_nChw8c, dnnl_nChw16c, dnnl_nchw, dnnl_nhwc};
    const int64_t blocks[] = {8, 16, 1, (*dims)[1]};
    int64_t block = 0;
    for (int i = 0; i < 4 && block == 0; i++) {
        dnnl_memory_desc_t other = NULL;
        if (dnnl_memory_desc_create_with_tag(&other, 4, *dims, (dnnl_data_type_t)data_type, tags[i]) != dnnl_success)
            continue;
        if (dnnl_memory_desc_equal(md, other)) block = blocks[i];
        dnnl_memory_desc_destroy(other);
    }
    return block;
}

const char *lk_dnnl_impl(const_dnnl_primitive_desc_t pd) {
    const char *name = NULL;
    if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || name == NULL) return "";
    return name;
}

int lk_dnnl_rank(const char *impl) {
    if (strstr(impl, "ref") != NULL || impl[0] == '\0') return 0;
    if (strstr(impl, "sse41") != NULL) return 1;
    if (strstr(impl, "gemm") != NULL && strstr(impl, "brgemm") == NULL) return 2;
    return 3;
}

lk_status lk_dnnl_attr(dnnl_primitive_attr_t *out, lk_error *err) {
    *out = NULL;
    LK_RETURN_IF(lk_dnnl_check(dnnl_primitive_attr_create(out), "dnnl_primitive_attr_create", err));
    return lk_dnnl_check(dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user),
                         "dnnl_primitive_attr_set_scratchpad_mode", err);
}

static void fill_offsets(int64_t *offsets, int64_t dim, int d, int64_t stride, int blocks, const dnnl_dim_t *sizes,
                         const dnnl_dim_t *axes) {
    for (int64_t i = 0; i < dim; i++) {
        int64_t rest = i, offset = 0, inner = 1;
        for (int b = blocks - 1; b >= 0; b--) { /* the last block varies fastest */
            if (axes[b] == d) {
                offset += rest % sizes[b] * inner;
                rest /= sizes[b];
            }
            inner *= sizes[b];
        }
        offsets[i] = offset + rest * stride;
    }
}

lk_status lk_dnnl_map_create(lk_dnnl_map *map, const_dnnl_memory_desc_t md, lk_error *err) {
    lk_status status = LK_OK;
    int blocks = 0;
    dnnl_dims_t *dims = NULL, *strides = NULL, *sizes = NULL, *axes = NULL;
    memset(map, 0, sizeof *map);
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &map->ndims));
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_dims, &dims));
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_strides, &strides));
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &blocks));
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_inner_blks, &sizes));
    LK_DNNL(dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &axes));
    for (int d = 0; d < map->ndims; d++) {
        map->dims[d] = (*dims)[d];
        LK_TRY(LK_NEW(&map->offsets[d], map->dims[d], "a parameter's layout", err));
        fill_offsets(map->offsets[d], map->dims[d], d, (*strides)[d], blocks, *sizes, *axes);
    }
out:
    if (status != LK_OK) lk_dnnl_map_free(map);
    return status;
}

void lk_dnnl_map_free(lk_dnnl_map *map) {
    for (int d = 0; d < map->ndims; d++) lk_free(map->offsets[d]);
    memset(map, 0, sizeof *map);
}

/* One line of the last axis, both ways. */
static void copy_line(float *line, float *stored, const int64_t *inner, int64_t count, bool pack) {
    if (pack)
        for (int64_t i = 0; i < count; i++) stored[inner[i]] = line[i];
    else
        for (int64_t i = 0; i < count; i++) line[i] = stored[inner[i]];
}

/* Copies line by line along the last axis that is longer than 1; the outer indices count like an odometer. */
static void walk(const lk_dnnl_map *map, float *canonical, float *stored, bool pack) {
    int last = map->ndims - 1;
    while (last > 0 && map->dims[last] == 1) last--;
    int64_t rows = 1, at[DNNL_MAX_NDIMS] = {0}, base = 0;
    for (int d = 0; d < last; d++) {
        rows *= map->dims[d];
        base += map->offsets[d][0];
    }
    for (int64_t row = 0; row < rows; row++) {
        copy_line(canonical + row * map->dims[last], stored + base, map->offsets[last], map->dims[last], pack);
        for (int d = last - 1; d >= 0; d--) {
            base -= map->offsets[d][at[d]];
            at[d] = at[d] + 1 < map->dims[d] ? at[d] + 1 : 0;
            base += map->offsets[d][at[d]];
            if (at[d] != 0) break;
        }
    }
}

void lk_dnnl_map_pack(const lk_dnnl_map *map, const float *canonical, float *stored, int64_t stored_count) {
    memset(stored, 0, (size_t)stored_count * sizeof *stored);
    walk(map, (float *)canonical, stored, true);
}

void lk_dnnl_map_unpack(const lk_dnnl_map *map, const float *stored, float *canonical) {
    walk(map, canonical, (float *)stored, false);
}
