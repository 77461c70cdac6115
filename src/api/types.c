/* types.c - texts of statuses, and conversion between number formats. */
#include "gqa/types.h"

#include "base/error.h"
#include "base/fpmode.h"
#include "base/tensor.h"

enum { PIECE = 512 }; /* values converted at a time */

const char *gqa_status_string(gqa_status status)
{
    switch (status) {
    case GQA_OK:
        return "ok";
    case GQA_ERR_ARG:
        return "bad argument";
    case GQA_ERR_SHAPE:
        return "tensor shape does not fit";
    case GQA_ERR_UNSUPPORTED:
        return "not supported";
    case GQA_ERR_NOMEM:
        return "out of memory";
    case GQA_ERR_WORKSPACE:
        return "workspace too small";
    case GQA_ERR_CACHE_FULL:
        return "cache full";
    case GQA_ERR_COMM:
        return "collective failed";
    default:
        return "unknown status";
    }
}

static void convert_row(const gqa_tensor *src, int64_t from, const gqa_tensor *dst, int64_t to,
                        int64_t n)
{
    float piece[PIECE];

    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t count = n - i < PIECE ? n - i : PIECE;
        gqa__load_f32(piece, src, from + i, count);
        gqa__store_f32(dst, to + i, piece, count);
    }
}

/* Both of four dimensions, the last one contiguous. */
static void convert_all(const gqa_tensor *src, const gqa_tensor *dst)
{
    for (int64_t a = 0; a < src->shape[0]; a++) {
        for (int64_t b = 0; b < src->shape[1]; b++) {
            for (int64_t c = 0; c < src->shape[2]; c++) {
                convert_row(src, a * src->stride[0] + b * src->stride[1] + c * src->stride[2], dst,
                            a * dst->stride[0] + b * dst->stride[1] + c * dst->stride[2],
                            src->shape[3]);
            }
        }
    }
}

/* The same tensor with four dimensions: ones in front. */
static gqa_tensor widen(const gqa_tensor *t)
{
    gqa_tensor wide = *t;
    const int32_t front = 4 - t->rank;

    wide.rank = 4;
    for (int32_t i = 0; i < 4; i++) {
        wide.shape[i] = i < front ? 1 : t->shape[i - front];
        wide.stride[i] = i < front ? 0 : t->stride[i - front];
    }
    return wide;
}

static gqa_status fit(const gqa_tensor *t, const char *field, const int64_t *shape, int32_t rank,
                      gqa_tensor *out, gqa_error *err)
{
    if (!gqa__present(t)) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is absent (NULL); a tensor is required");
    }
    if (t->rank < 1 || t->rank > 4) {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "rank is %d; it must be 1..4", (int)t->rank);
    }
    return gqa__tensor_fit(t, &(struct gqa__form){field, GQA__FLOATS, rank, shape, false}, out,
                           err);
}

gqa_status gqa_convert(const gqa_tensor *src, const gqa_tensor *dst, gqa_error *err)
{
    const int64_t any[4] = {-1, -1, -1, -1};
    gqa_tensor from;
    gqa_tensor to;
    gqa__fpmode saved;
    gqa_status status;

    status = fit(src, "src", any, src == NULL ? 0 : src->rank, &from, err);
    if (status == GQA_OK) {
        status = fit(dst, "dst", from.shape, from.rank, &to, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (gqa__tensor_overlap(&from, &to)) {
        return gqa__fail(err, GQA_ERR_ARG, "dst", "its data overlaps that of src");
    }
    from = widen(&from);
    to = widen(&to);
    saved = gqa__fpmode_enter();
    convert_all(&from, &to);
    gqa__fpmode_leave(saved);
    return GQA_OK;
}
