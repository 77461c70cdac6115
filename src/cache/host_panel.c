/* SPDX-License-Identifier: Apache-2.0 */
/* host_panel.c - contiguous keys for the products from the host's memory: a pointer into a tensor
 * where its rows are what the kernel set reads, else gathered.
 *
 * What is gathered lies in the scratch as panel.c says.
 */
#include <assert.h>
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "cache/panel.h"

/* Rows that are a multiple of so many bytes apart meet the same few sets of L1: gathered, which
 * reads one after the other, they are faster. */
#define CROWDED 2048

/* Scales of tokens that are at most so many elements apart are announced as one piece. */
#define SCALES_NEAR 16

/* Are the caller's rows, of `dim` values, rows of operands that the kernels may read in place? */
static bool readable(const struct gqa__kv_view *view, const struct gqa__host_rows *rows,
                     int32_t dim, int32_t step)
{
    const gqa_dtype operand = view->kernels->operand;

    return rows->dtype == operand && rows->step == 1 && dim % step == 0 &&
           !(view->flush && operand == GQA_F32) &&
           rows->token * (int64_t)gqa__dtype_size(operand) % CROWDED != 0;
}

/* Whole panels from `first` on in one block; 0 where the first one crosses into the next. */
static int32_t run_in_block(const struct gqa__panel_job *job)
{
    const int32_t size = job->view->host.block_size;
    const int32_t run = (int32_t)gqa__min(job->valid, size - job->first % size);

    return run - run % job->view->kernels->panel_keys;
}

/* What `rows` has of tokens [i, i + n) of the panel, which lie in one block. */
static struct gqa__gather_args source_of(const struct gqa__panel_job *job,
                                         const struct gqa__host_rows *rows, int32_t i)
{
    const int64_t offset = gqa__host_offset(&job->view->host, rows, job->head, job->first + i);

    return (struct gqa__gather_args){.src =
                                         rows->data + (size_t)offset * gqa__dtype_size(rows->dtype),
                                     .row = rows->token,
                                     .column = rows->step,
                                     .dtype = rows->dtype,
                                     .flush = job->view->flush};
}

/* Tokens that lie in one block with token i of the panel, as far as they are valid. */
static int32_t tokens_from(const struct gqa__panel_job *job, int32_t i)
{
    const int32_t size = job->view->host.block_size;

    return (int32_t)gqa__min(job->valid - i, size - (job->first + i) % size);
}

/* dst [keys][stride]: dim values of each token, zero beyond them and beyond the valid tokens. */
static bool gather_tokens(const struct gqa__panel_job *job, const struct gqa__host_rows *rows,
                          unsigned char *dst, int64_t stride, int32_t dim)
{
    const size_t size = gqa__dtype_size(job->view->kernels->operand);
    const size_t row = (size_t)stride * size;
    bool special = false;

    for (int32_t i = 0, n; i < job->valid; i += n) {
        struct gqa__gather_args args = source_of(job, rows, i);
        n = tokens_from(job, i);
        args.dst = dst + (size_t)i * row;
        args.stride = stride;
        args.rows = n;
        args.columns = dim;
        special |= job->view->kernels->gather(&args);
    }
    for (int32_t i = 0; i < job->valid && dim < stride; i++) {
        memset(dst + (size_t)i * row + (size_t)dim * size, 0, (size_t)(stride - dim) * size);
    }
    memset(dst + (size_t)job->valid * row, 0, (size_t)(job->keys - job->valid) * row);
    return special;
}

/* dst [value_dim][GQA__FOLD_BLOCK]: V transposed, zero beyond dv and beyond the valid tokens. */
static bool gather_values_turned(const struct gqa__panel_job *job, unsigned char *dst)
{
    const struct gqa__kv_view *const view = job->view;
    const size_t size = gqa__dtype_size(view->kernels->operand);
    const size_t row = GQA__FOLD_BLOCK * size;
    bool special = false;

    for (int32_t i = 0, n; i < job->valid; i += n) {
        struct gqa__gather_args args = source_of(job, &view->host.v, i);
        n = tokens_from(job, i);
        args.dst = dst + (size_t)i * size;
        args.stride = GQA__FOLD_BLOCK;
        args.row = view->host.v.step;
        args.column = view->host.v.token;
        args.rows = view->dv;
        args.columns = n;
        special |= view->kernels->gather(&args);
    }
    for (int32_t d = 0; d < view->dv && job->valid < job->keys; d++) {
        memset(dst + (size_t)d * row + (size_t)job->valid * size, 0,
               (size_t)(job->keys - job->valid) * size);
    }
    for (int64_t d = view->dv; d < job->value_dim; d++) {
        memset(dst + (size_t)d * row, 0, (size_t)job->keys * size);
    }
    return special;
}

/* V in place: is a value of it special? */
static bool look_at_values(const struct gqa__panel_job *job)
{
    struct gqa__gather_args args = source_of(job, &job->view->host.v, 0);

    args.rows = job->keys;
    args.columns = job->view->dv;
    args.flush = false;
    return job->view->kernels->gather(&args);
}

static void set_k(const struct gqa__panel_job *job, bool in_place, struct gqa__kv_panel *panel)
{
    const struct gqa__host_rows *const rows = &job->view->host.k;
    const size_t size = gqa__dtype_size(job->view->kernels->operand);
    unsigned char *const own =
        job->k + (size_t)(job->first % GQA__FOLD_BLOCK * job->k_stride) * size;

    if (in_place) {
        panel->k = source_of(job, rows, 0).src;
        panel->k_stride = rows->token;
        return;
    }
    gather_tokens(job, rows, own, job->k_stride, job->view->dk);
    panel->k = own;
    panel->k_stride = job->k_stride;
}

static void set_v(const struct gqa__panel_job *job, bool in_place, struct gqa__kv_panel *panel)
{
    const struct gqa__kv_view *const view = job->view;
    const size_t size = gqa__dtype_size(view->kernels->operand);
    const int32_t place = job->first % GQA__FOLD_BLOCK;

    if (in_place) {
        panel->v = source_of(job, &view->host.v, 0).src;
        panel->v_stride = view->host.v.token;
        panel->special = look_at_values(job);
    } else if (view->kernels->v_transposed) {
        unsigned char *const own = job->v + (size_t)place * size;
        panel->special = gather_values_turned(job, own);
        panel->v = own;
        panel->v_stride = GQA__FOLD_BLOCK;
    } else {
        unsigned char *const own = job->v + (size_t)(place * job->value_dim) * size;
        panel->special = gather_tokens(job, &view->host.v, own, job->value_dim, view->dv);
        panel->v = own;
        panel->v_stride = job->value_dim;
    }
}

void gqa__panel_of_host(struct gqa__panel_job *job, struct gqa__kv_panel *panel)
{
    const struct gqa__kv_view *const view = job->view;
    const struct gqa__kernels *const kernels = view->kernels;
    const int32_t size = view->host.block_size, step = kernels->panel_keys;
    const int32_t run = run_in_block(job);
    const bool blocks = size >= step;
    const bool k = blocks && readable(view, &view->host.k, view->dk, kernels->depth_step);
    const bool v = blocks && !kernels->v_transposed &&
                   readable(view, &view->host.v, view->dv, kernels->value_step);

    if (k || v) { /* a run, or what lies between two */
        const int64_t crossing = gqa__round_up(size - job->first % size, step);
        job->keys = (int32_t)gqa__min(job->keys, run > 0 ? run : crossing);
        job->valid = (int32_t)gqa__min(job->valid, job->keys);
    }
    panel->k = panel->v = NULL;
    panel->special = false;
    if (view->host.k.dtype != GQA_I8) {
        set_k(job, k && run > 0, panel);
    }
    if (view->host.v.dtype != GQA_I8) {
        set_v(job, v && run > 0, panel);
    }
}

/* What is announced so far. */
struct announced {
    struct gqa__prefetch *list; /* [GQA__KEY_PREFETCHES] */
    int32_t n;
};

_Static_assert(GQA__KEY_PREFETCHES == 2 * GQA__FOLD_BLOCK + 2 * GQA__FOLD_BLOCK / 16,
               "K and V of every key, and scales of blocks of 16");

/* The vectors of n tokens of one block, of dim values each, from element `offset` on: as one piece
 * where they follow one another. */
static void announce(struct announced *announced, const struct gqa__host_rows *rows, int64_t offset,
                     int32_t n, int32_t dim)
{
    const size_t size = gqa__dtype_size(rows->dtype);
    const bool by_token = rows->step <= rows->token;
    const int64_t step = by_token ? rows->token : rows->step;
    const int64_t inner = by_token ? dim : n;
    const int64_t outer = by_token ? n : dim;
    const int64_t count = step == inner ? 1 : outer;
    const size_t bytes = (size_t)(inner * (outer / count)) * size;

    for (int64_t i = 0; i < count && announced->n < GQA__KEY_PREFETCHES; i++) {
        announced->list[announced->n++] =
            (struct gqa__prefetch){rows->data + (size_t)(offset + i * step) * size, bytes};
    }
}

/* The scales of n tokens of one block, from element `offset` on, where they share cache lines. */
static void announce_scales(struct announced *announced, const struct gqa__host_rows *rows,
                            int64_t offset, int32_t n)
{
    const size_t bytes = ((size_t)((n - 1) * rows->scale_token) + 1) * sizeof(float);

    if (rows->dtype == GQA_I8 && rows->scale_token <= SCALES_NEAR) {
        announced->list[announced->n++] =
            (struct gqa__prefetch){(const unsigned char *)(rows->scale + offset), bytes};
    }
}

int32_t gqa__prefetch_of_host(const struct gqa__kv_view *view, int32_t head, int32_t first,
                              int32_t end, struct gqa__prefetch *list)
{
    const struct gqa__host_keys *const host = &view->host;
    struct announced announced = {list, 0};

    for (int32_t index = first, run; index < end; index += run) {
        run = (int32_t)gqa__min(end - index, host->block_size - index % host->block_size);
        announce_scales(&announced, &host->k, gqa__host_scale(host, &host->k, head, index), run);
        announce_scales(&announced, &host->v, gqa__host_scale(host, &host->v, head, index), run);
    }
    for (int32_t index = first, run; index < end; index += run) {
        run = (int32_t)gqa__min(end - index, host->block_size - index % host->block_size);
        announce(&announced, &host->k, gqa__host_offset(host, &host->k, head, index), run,
                 view->dk);
        announce(&announced, &host->v, gqa__host_offset(host, &host->v, head, index), run,
                 view->dv);
    }
    return announced.n;
}
