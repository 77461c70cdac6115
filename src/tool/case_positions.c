/* case_positions.c - positions and valid flags that a file leaves out.
 *
 * New tokens: q_pos and the last T columns of k_pos stand for each other; row_valid and the last T
 * columns of key_valid too. With neither, tokens are counted from the past on and all are valid.
 * Past tokens: they come just before the first new one, and are valid.
 */
#include <stdlib.h>

#include "tool/case.h"

static void *make(struct tool_case *c, int which, int64_t n, size_t elem, const char *name,
                  struct tool_fault *fault)
{
    c->made[which] = calloc((size_t)n, elem);
    if (c->made[which] == NULL) {
        tool_fault_set(fault, c->path, "no memory for %lld elements of %s", (long long)n, name);
    }
    return c->made[which];
}

static void fill_q_pos(const struct tool_case *c, int32_t *to)
{
    for (int32_t b = 0; b < c->batch; b++) {
        for (int32_t t = 0; t < c->tokens; t++) {
            to[(int64_t)b * c->tokens + t] =
                c->k_pos != NULL ? c->k_pos[(int64_t)b * c->keys + c->past + t] : c->past + t;
        }
    }
}

static void fill_k_pos(const struct tool_case *c, int32_t *to)
{
    for (int32_t b = 0; b < c->batch; b++) {
        const int32_t *q_pos = c->q_pos + (int64_t)b * c->tokens;
        for (int32_t j = 0; j < c->keys; j++) {
            const int64_t before = (int64_t)q_pos[0] - c->past + j;
            to[(int64_t)b * c->keys + j] = j >= c->past         ? q_pos[j - c->past]
                                           : before < INT32_MIN ? INT32_MIN
                                                                : (int32_t)before;
        }
    }
}

static void fill_key_valid(const struct tool_case *c, uint8_t *to)
{
    for (int32_t b = 0; b < c->batch; b++) {
        for (int32_t j = 0; j < c->keys; j++) {
            to[(int64_t)b * c->keys + j] = j < c->past || c->row_valid == NULL
                                               ? 1
                                               : c->row_valid[(int64_t)b * c->tokens + j - c->past];
        }
    }
}

static void fill_row_valid(const struct tool_case *c, uint8_t *to)
{
    for (int32_t b = 0; b < c->batch; b++) {
        for (int32_t t = 0; t < c->tokens; t++) {
            to[(int64_t)b * c->tokens + t] = c->key_valid[(int64_t)b * c->keys + c->past + t];
        }
    }
}

bool tool_case_positions(struct tool_case *c, struct tool_fault *fault)
{
    const int64_t rows = (int64_t)c->batch * c->tokens, keys = (int64_t)c->batch * c->keys;

    if (c->q_pos == NULL) {
        int32_t *q_pos = make(c, 0, rows, sizeof *q_pos, "q_pos", fault);
        if (q_pos != NULL) {
            fill_q_pos(c, q_pos);
        }
        c->q_pos = q_pos;
    }
    if (c->k_pos == NULL && c->q_pos != NULL) {
        int32_t *k_pos = make(c, 1, keys, sizeof *k_pos, "k_pos", fault);
        if (k_pos != NULL) {
            fill_k_pos(c, k_pos);
        }
        c->k_pos = k_pos;
    }
    if (c->key_valid == NULL) {
        uint8_t *key_valid = make(c, 2, keys, 1, "key_valid", fault);
        if (key_valid != NULL) {
            fill_key_valid(c, key_valid);
        }
        c->key_valid = key_valid;
    }
    if (c->row_valid == NULL && c->key_valid != NULL) {
        uint8_t *row_valid = make(c, 3, rows, 1, "row_valid", fault);
        if (row_valid != NULL) {
            fill_row_valid(c, row_valid);
        }
        c->row_valid = row_valid;
    }
    return fault->text[0] == '\0';
}
