/* SPDX-License-Identifier: Apache-2.0 */
/* rule.c - may this row see this key? */
#include "reference/rule.h"

#include <math.h>

#include "base/tensor.h"

/* Quotient rounded towards minus infinity: positions below the origin have chunks too. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* What the config says: causal or right window, window, chunk. All of them must agree. */
static bool config_admits(const struct gqa__shape *shape, int64_t query, int64_t key,
                          int64_t origin)
{
    if (shape->right >= 0 && key > query + shape->right) {
        return false;
    }
    if (shape->window > 0 && key <= query - shape->window) {
        return false;
    }
    return shape->chunk <= 0 ||
           floor_div(query - origin, shape->chunk) == floor_div(key - origin, shape->chunk);
}

/* Element [batch or 0][head or 0][row][column] of a [1|B, 1|Hq, T, K] tensor. */
static int64_t pair_offset(const gqa_tensor *t, const struct gqa__reference_row *row,
                           const struct gqa__reference_key *key)
{
    int64_t b = t->shape[0] == 1 ? 0 : row->segment->batch;
    int64_t h = t->shape[1] == 1 ? 0 : row->head;
    int64_t i = (int64_t)row->segment->row0 + row->token;
    return b * t->stride[0] + h * t->stride[1] + i * t->stride[2] + key->column * t->stride[3];
}

/* Element [batch or 0][row][column - active_column] of a [1|B, T, T] tensor. */
static int64_t active_offset(const gqa_tensor *t, const struct gqa__reference_row *row,
                             const struct gqa__reference_key *key)
{
    int64_t b = t->shape[0] == 1 ? 0 : row->segment->batch;
    int64_t i = (int64_t)row->segment->row0 + row->token;
    int64_t j = (int64_t)key->column - row->segment->active_column;
    return b * t->stride[0] + i * t->stride[1] + j * t->stride[2];
}

/* What the call says: mask, active mask, key bounds. */
static bool call_admits(const struct gqa__reference_row *row, const struct gqa__reference_key *key)
{
    const struct gqa__segment *segment = row->segment;
    if (segment->key_begin != NULL && key->column < segment->key_begin[row->token]) {
        return false;
    }
    if (segment->key_end != NULL && key->column >= segment->key_end[row->token]) {
        return false;
    }
    if (gqa__present(&segment->mask) &&
        !gqa__mask_at(&segment->mask, pair_offset(&segment->mask, row, key))) {
        return false;
    }
    return !gqa__present(&segment->active_mask) || key->column < segment->active_column ||
           gqa__mask_at(&segment->active_mask, active_offset(&segment->active_mask, row, key));
}

float gqa__reference_bias(const struct gqa__reference_row *row,
                          const struct gqa__reference_key *key)
{
    const gqa_tensor *bias = &row->segment->bias;
    float value = 0.0f;
    if (gqa__present(bias)) {
        gqa__load_f32(&value, bias, pair_offset(bias, row, key), 1);
    }
    return value;
}

/* A bias of -inf hides by selection: added to a NaN it would not. */
bool gqa__reference_visible(const struct gqa__shape *shape, const struct gqa__reference_row *row,
                            const struct gqa__reference_key *key)
{
    return config_admits(shape, row->position, key->position, row->segment->view.origin) &&
           call_admits(row, key) && gqa__reference_bias(row, key) != -INFINITY;
}
