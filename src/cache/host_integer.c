/* SPDX-License-Identifier: Apache-2.0 */
/* host_integer.c - keys of the host's memory that are int8, as the integer kernels read them: rows
 * where they lie if they are contiguous and need no padding, else gathered to scratch. Scales are
 * always copied there, for what a host writes may be no scale that rows have.
 *
 * Scratch is that of panel.c: the bytes of rows lie where operands of K and V would.
 */
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/storage.h"
#include "cache/panel.h"

/* May the kernels read the host's rows of `dim` values where they are? */
static bool rows_fit(const struct gqa__host_rows *rows, int32_t dim)
{
    return rows->step == 1 && dim % GQA__INT_ROW_STEP == 0;
}

/* The run's scales, 0 beyond those of `valid` keys. */
static void copy_scales(const struct gqa__panel_job *job, const struct gqa__host_rows *rows,
                        float *dst)
{
    const float *const src =
        rows->scale + gqa__host_scale(&job->view->host, rows, job->head, job->first);

    for (int32_t i = 0; i < job->valid; i++) {
        dst[i] = gqa__scale_given(src[i * rows->scale_token]);
    }
    memset(dst + job->valid, 0, (size_t)(job->keys - job->valid) * sizeof *dst);
}

/* K or V of the run, whose keys lie in one block; own: the scratch for a fold block's rows, scale
 * that for its scales. */
static struct gqa__integer_rows rows_of_run(const struct gqa__panel_job *job, bool value,
                                            unsigned char *own, float *scale)
{
    const struct gqa__kv_view *const view = job->view;
    const struct gqa__host_rows *const rows = value ? &view->host.v : &view->host.k;
    const int32_t dim = value ? view->dv : view->dk, place = job->first % GQA__FOLD_BLOCK;
    const int64_t row = gqa__integer_row_bytes(GQA_I8, dim);
    const unsigned char *const src =
        rows->data + gqa__host_offset(&view->host, rows, job->head, job->first);
    struct gqa__integer_rows run = {.scale = scale + place, .scale_step = GQA__FOLD_BLOCK};

    if (rows->dtype != GQA_I8) {
        return (struct gqa__integer_rows){0};
    }
    copy_scales(job, rows, scale + place);
    if (rows_fit(rows, dim) && job->valid == job->keys) {
        run.row = src;
        run.row_step = rows->token;
        return run;
    }
    own += place * row;
    run.row = own;
    run.row_step = row;
    view->integer->gather(&(struct gqa__integer_gather){.dst = (int8_t *)own,
                                                        .stride = row,
                                                        .src = (const int8_t *)src,
                                                        .row = rows->token,
                                                        .column = rows->step,
                                                        .rows = job->valid,
                                                        .columns = dim});
    memset(own + job->valid * row, 0, (size_t)((job->keys - job->valid) * row));
    return run;
}

void gqa__integer_run_of_host(struct gqa__panel_job *job, struct gqa__integer_run *run)
{
    const struct gqa__host_keys *const host = &job->view->host;
    const int32_t block = host->block_size - job->first % host->block_size;
    const bool k = host->k.dtype == GQA_I8 && rows_fit(&host->k, job->view->dk);
    const bool v = host->v.dtype == GQA_I8 && rows_fit(&host->v, job->view->dv);

    job->keys = (int32_t)gqa__min(job->keys, block);
    job->valid = (int32_t)gqa__min(job->valid, job->keys);
    if ((k || v) && job->valid < job->keys && job->valid > GQA__INT_KEY_STEP) {
        job->keys = job->valid =
            job->valid - job->valid % GQA__INT_KEY_STEP; /* the rest is gathered */
    }
    run->keys = job->keys;
    run->k = rows_of_run(job, false, job->k, job->k_scale);
    run->v = rows_of_run(job, true, job->v, job->v_scale);
}
