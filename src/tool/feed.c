/* SPDX-License-Identifier: Apache-2.0 */
/* feed.c - see feed.h. */
#include "tool/feed.h"

#include <stdlib.h>
#include <string.h>

static int64_t quotient_below(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && a < 0);
}

static bool same_chunk(const struct tool_case *c, int32_t p, int32_t k)
{
    int32_t chunk = c->config.attention_chunk_size;

    return chunk == 0 || quotient_below(p, chunk) == quotient_below(k, chunk);
}

bool tool_case_sees(const struct tool_case *c, int32_t b, int32_t t, int32_t j)
{
    int64_t p = c->q_pos[(int64_t)b * c->tokens + t];
    int64_t k = c->k_pos[(int64_t)b * c->keys + j];

    return c->key_valid[(int64_t)b * c->keys + j] != 0 &&
           (c->config.bidirectional != 0 || k <= p) &&
           (c->config.sliding_window == 0 || p - k < c->config.sliding_window) &&
           same_chunk(c, (int32_t)p, (int32_t)k);
}

/* The valid past keys of sequence b, inserted by position (they nearly always rise already). */
static void order_past(struct tool_feed *feed, const struct tool_case *c, int32_t b)
{
    int32_t *order = feed->past_order + (int64_t)b * c->past;
    const int32_t *pos = c->k_pos + (int64_t)b * c->keys;
    int32_t n = 0;

    for (int32_t j = 0; j < c->past; j++) {
        int32_t at = n;

        if (c->key_valid[(int64_t)b * c->keys + j] == 0) {
            continue;
        }
        while (at > 0 && pos[order[at - 1]] > pos[j]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = j;
        n++;
    }
    feed->past_count[b] = n;
}

static bool is_computed(const struct tool_case *c, int32_t b, int32_t t)
{
    return c->row_valid[(int64_t)b * c->tokens + t] != 0 ||
           c->key_valid[(int64_t)b * c->keys + c->past + t] != 0;
}

/* The run of computed tokens of sequence b; all of them if there is a hole. Returns whether a mask
 * is needed. */
static bool find_run(struct tool_feed *feed, const struct tool_case *c, int32_t b)
{
    const uint8_t *key_valid = c->key_valid + (int64_t)b * c->keys + c->past;
    int32_t first = 0, last = c->tokens;
    bool hidden = false;

    while (first < last && !is_computed(c, b, first)) {
        first++;
    }
    while (last > first && !is_computed(c, b, last - 1)) {
        last--;
    }
    for (int32_t t = first; t < last; t++) {
        hidden = hidden || key_valid[t] == 0;
        if (!is_computed(c, b, t)) {
            first = 0;
            last = c->tokens;
            hidden = true;
            break;
        }
    }
    feed->begin[b] = first;
    feed->end[b] = last;
    return hidden;
}

/* A new token has one position in the library. Returns false with a fault where the file has two;
 * *falls is set where positions do not rise. */
static bool check_file_positions(const struct tool_feed *feed, const struct tool_case *c, int32_t b,
                                 bool *falls, struct tool_fault *fault)
{
    const int32_t *k_pos = c->k_pos + (int64_t)b * c->keys;
    const int32_t *q_pos = c->q_pos + (int64_t)b * c->tokens;
    const int32_t *order = feed->past_order + (int64_t)b * c->past;
    int64_t last = INT64_MIN;

    if (feed->past_count[b] > 0) {
        last = k_pos[order[feed->past_count[b] - 1]];
    }
    for (int32_t t = feed->begin[b]; t < feed->end[b]; t++) {
        if (c->key_valid[(int64_t)b * c->keys + c->past + t] != 0 &&
            k_pos[c->past + t] != q_pos[t]) {
            return tool_fault_set(fault, c->path,
                                  "k_pos[%d][%d] is %d, but q_pos[%d][%d] is %d: a "
                                  "new token must have one position",
                                  b, c->past + t, k_pos[c->past + t], b, t, q_pos[t]);
        }
        *falls = *falls || q_pos[t] <= last;
        last = q_pos[t];
    }
    return true;
}

/* The library counts chunks from the position of a sequence's first token. */
static bool chunk_fits(const struct tool_feed *feed, const struct tool_case *c, int32_t b)
{
    int32_t origin;

    if (c->config.attention_chunk_size == 0) {
        return true;
    }
    if (feed->past_count[b] > 0) {
        origin = c->k_pos[(int64_t)b * c->keys + feed->past_order[(int64_t)b * c->past]];
    } else if (feed->begin[b] < feed->end[b]) {
        origin = c->q_pos[(int64_t)b * c->tokens + feed->begin[b]];
    } else {
        return true;
    }
    return origin % c->config.attention_chunk_size == 0;
}

/* The file's key in a column of sequence b; -1 beyond them. */
static int32_t key_of(const struct tool_feed *feed, const struct tool_case *c, int32_t b,
                      int32_t column)
{
    int32_t past = feed->past_count[b];

    if (column < past) {
        return feed->past_order[(int64_t)b * c->past + column];
    }
    return column - past < c->tokens ? c->past + column - past : -1;
}

static void fill_mask(struct tool_feed *feed, const struct tool_case *c)
{
    uint8_t *at = feed->mask;

    for (int32_t b = 0; b < c->batch; b++) {
        for (int32_t t = 0; t < c->tokens; t++) {
            for (int32_t column = 0; column < feed->columns; column++, at++) {
                int32_t j = key_of(feed, c, b, column);
                bool sees = j >= 0 && c->key_valid[(int64_t)b * c->keys + j] != 0;

                if (sees && feed->chunk_by_mask) {
                    sees = same_chunk(c, c->q_pos[(int64_t)b * c->tokens + t],
                                      c->k_pos[(int64_t)b * c->keys + j]);
                }
                *at = sees;
            }
        }
    }
}

static void fill_bias(struct tool_feed *feed, const struct tool_case *c)
{
    float *at = feed->bias;

    for (int32_t b = 0; b < c->batch; b++) {
        int64_t plane = c->bias_batch == 1 ? 0 : (int64_t)b * c->bias_heads;
        for (int64_t row = 0; row < (int64_t)c->bias_heads * c->tokens; row++) {
            const float *from = c->bias + (plane * c->tokens + row) * c->keys;
            for (int32_t column = 0; column < feed->columns; column++) {
                int32_t j = key_of(feed, c, b, column);
                *at++ = j >= 0 ? from[j] : 0;
            }
        }
    }
}

bool tool_feed_make(struct tool_feed *feed, const struct tool_case *c, struct tool_fault *fault)
{
    bool masked = false;
    int32_t most = 0;

    memset(feed, 0, sizeof *feed);
    feed->past_order = tool_alloc(c->path, (int64_t)c->batch * c->past, sizeof(int32_t), fault);
    feed->past_count = tool_alloc(c->path, c->batch, sizeof(int32_t), fault);
    feed->begin = tool_alloc(c->path, c->batch, sizeof(int32_t), fault);
    feed->end = tool_alloc(c->path, c->batch, sizeof(int32_t), fault);
    if (fault->text[0] != '\0') {
        goto fail;
    }
    for (int32_t b = 0; b < c->batch; b++) {
        order_past(feed, c, b);
        most = feed->past_count[b] > most ? feed->past_count[b] : most;
        masked = find_run(feed, c, b) || masked;
        if (!check_file_positions(feed, c, b, &masked, fault)) {
            goto fail;
        }
        feed->chunk_by_mask = feed->chunk_by_mask || !chunk_fits(feed, c, b);
    }
    feed->columns = most + c->tokens;
    if (masked || feed->chunk_by_mask) {
        feed->mask = tool_alloc(c->path, (int64_t)c->batch * c->tokens * feed->columns, 1, fault);
    }
    if (c->bias != NULL) {
        feed->bias =
            tool_alloc(c->path, (int64_t)c->batch * c->bias_heads * c->tokens * feed->columns,
                       sizeof(float), fault);
    }
    if (fault->text[0] != '\0') {
        goto fail;
    }
    if (feed->mask != NULL) {
        fill_mask(feed, c);
    }
    if (feed->bias != NULL) {
        fill_bias(feed, c);
    }
    return true;

fail:
    tool_feed_free(feed);
    return false;
}

void tool_feed_free(struct tool_feed *feed)
{
    free(feed->past_order);
    free(feed->past_count);
    free(feed->begin);
    free(feed->end);
    free(feed->mask);
    free(feed->bias);
    memset(feed, 0, sizeof *feed);
}
