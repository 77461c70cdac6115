/* SPDX-License-Identifier: Apache-2.0 */
/* sequence_lines.c - see sequence_lines.h. */
#include "support/sequence_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/random.h"
#include "support/stored_row.h"

bool lines_open(struct lines *lines, const struct rig_kind *kind, int64_t pages)
{
    return lines_open_more(lines, kind, &(struct rig_more){0}, pages);
}

bool lines_open_more(struct lines *lines, const struct rig_kind *kind, const struct rig_more *more,
                     int64_t pages)
{
    memset(lines, 0, sizeof *lines);
    lines->random = 7;
    if (!rig_open_more(&lines->rig, kind, more)) {
        return false;
    }
    lines->cache = rig_cache(&lines->rig, RIG_BATCH, RIG_TOKENS, pages);
    lines->bytes = lines->rig.host.size;
    return true;
}

void lines_close(struct lines *lines)
{
    gqa_cache_destroy(&lines->cache);
    rig_close(&lines->rig);
}

/* One call with n more tokens for each of these sequences. */
gqa_status lines_append(struct lines *lines, const int32_t *sequences, int32_t count, int32_t n,
                        bool tree)
{
    struct rig_piece pieces[RIG_BATCH];
    const struct rig_call call = {pieces, count, RIG_PIECE, tree};
    for (int32_t b = 0; b < count; b++) {
        rig_draw(&lines->line[sequences[b]], sequences[b], n, tree, &lines->random, &pieces[b]);
    }
    const gqa_status status =
        rig_forward(&lines->rig, lines->cache, &call, lines->line, &lines->output);
    for (int32_t b = 0; b < count && status == GQA_OK; b++) {
        struct rig_line *const line = &lines->line[sequences[b]];
        if (!rig_as_alone(&lines->rig, &call, b, line, &lines->output)) {
            fail_msg("sequence %d does not give the bits of one alone (%d tokens; isa %d, numerics "
                     "%d, storage %d, page_size %d, %d threads)",
                     sequences[b], line->length, (int)lines->rig.kind.isa,
                     (int)lines->rig.kind.numerics, (int)lines->rig.kind.storage,
                     lines->rig.kind.page_size, lines->rig.kind.threads);
        }
        rig_grow(line, &pieces[b], call.columns);
        lines_compare(&lines->rig, lines->cache, sequences[b], line);
    }
    return status;
}

gqa_status lines_append_one(struct lines *lines, int32_t sequence)
{
    return lines_append(lines, &sequence, 1, 1, false);
}

/* Put n tokens into sequence 0, which holds none; V of the last one has a NaN. */
void lines_fill(struct lines *lines, int32_t n)
{
    struct rig_piece piece;
    while (n > 0) {
        const int32_t some = n < RIG_PIECE ? n : RIG_PIECE;
        rig_draw(&lines->line[0], 0, some, false, &lines->random, &piece);
        rig_grow(&lines->line[0], &piece, RIG_PIECE);
        n -= some;
    }
    lines->line[0].token[lines->line[0].length - 1].seed &= ~UINT64_C(63);
    rig_fill(lines->cache, 0, &lines->line[0]);
}

void lines_fork(struct lines *lines, int32_t from, int32_t to)
{
    const struct gqa__sequence *const a = &lines->cache->sequences[from];
    const struct gqa__sequence *const b = &lines->cache->sequences[to];
    const int64_t pages = gqa_cache_free_pages(lines->cache);
    assert_int_equal(gqa_cache_fork(lines->cache, from, to, NULL), GQA_OK);
    assert_true(a->ordered == b->ordered && a->origin == b->origin && a->last == b->last);
    assert_int_equal(gqa_cache_free_pages(lines->cache), pages);
    assert_int_equal(gqa_cache_length(lines->cache, to), lines->line[from].length);
    lines->line[to] = lines->line[from];
}

void lines_cut(struct lines *lines, int32_t sequence, int32_t length)
{
    assert_int_equal(gqa_cache_truncate(lines->cache, sequence, length, NULL), GQA_OK);
    rig_cut(&lines->line[sequence], length);
}

/* The call needs more pages than are free, and changes no byte of the cache. */
void lines_refuse_full(struct lines *lines, const int32_t *sequences, int32_t count,
                       const char *words)
{
    unsigned char *const before = malloc(lines->bytes);
    assert_non_null(before);
    memcpy(before, lines->cache, lines->bytes);
    assert_int_equal(lines_append(lines, sequences, count, 1, false), GQA_ERR_CACHE_FULL);
    assert_non_null(strstr(lines->rig.err.message, words));
    assert_memory_equal(before, lines->cache, lines->bytes);
    free(before);
}

void lines_keep(struct lines *lines, int32_t sequence, int32_t last, const int32_t *kept, int32_t n)
{
    struct rig_line *const line = &lines->line[sequence];
    const int32_t first = line->length - last;
    assert_int_equal(gqa_cache_keep(lines->cache, sequence, last, kept, n, NULL), GQA_OK);
    for (int32_t i = 0; i < n; i++) {
        line->token[first + i] = line->token[first + kept[i]];
    }
    rig_cut(line, first + n);
}

/* Row i of what was read, [HKV][rows][dim], and what it must be, [HKV][dim]. */
static bool same_rows(const float *read, const float *numbers, int32_t rows, int32_t i, int32_t dim,
                      const struct rig_kind *kind)
{
    for (int32_t head = 0; head < RIG_HKV; head++) {
        const float *const row = read + ((int64_t)head * rows + i) * dim;
        float want[STORED_ROW_MOST];
        stored_read(want, numbers + head * dim, dim, kind->storage, kind->rotate);
        if (memcmp(row, want, (size_t)dim * sizeof *row) != 0) {
            return false;
        }
    }
    return true;
}

static void compare_metadata(const gqa_cache *cache, int32_t id, const struct rig_line *line)
{
    const struct gqa__sequence *const sequence = &cache->sequences[id];
    const int32_t first = gqa_cache_first(cache, id);
    bool ordered = true;
    assert_int_equal(gqa_cache_length(cache, id), line->length);
    assert_int_equal(sequence->columns, line->columns);
    for (int32_t i = first; i < line->length; i++) {
        const int64_t slot = gqa__cache_slot(cache, sequence, i);
        assert_int_equal(cache->positions[slot], line->token[i].position);
        assert_int_equal(cache->columns[slot], line->token[i].column);
        ordered = ordered && (i == first || line->token[i].position >= line->token[i - 1].position);
    }
    assert_true(sequence->ordered == ordered ||
                (first > 0 && ordered)); /* disorder may have left */
    if (line->length > 0) {
        assert_int_equal(sequence->origin, line->token[0].position);
        assert_int_equal(sequence->last, line->token[line->length - 1].position);
    }
}

void lines_compare(const struct rig *rig, const gqa_cache *cache, int32_t sequence,
                   const struct rig_line *line)
{
    static float k[RIG_TOKENS * RIG_HKV * RIG_DK], v[RIG_TOKENS * RIG_HKV * RIG_DV];
    const int32_t first = gqa_cache_first(cache, sequence), held = line->length - first;
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, RIG_HKV, held, RIG_DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, RIG_HKV, held, RIG_DV);

    compare_metadata(cache, sequence, line);
    assert_int_equal(gqa_cache_read(cache, sequence, first, &key, &value, NULL, NULL), GQA_OK);
    for (int32_t i = first; i < line->length; i++) {
        float own_k[RIG_HKV * RIG_DK], own_v[RIG_HKV * RIG_DV];
        rig_numbers(line->token[i].seed, own_k, own_v);
        if (!same_rows(k, own_k, held, i - first, RIG_DK, &rig->kind) ||
            !same_rows(v, own_v, held, i - first, RIG_DV, &rig->kind)) {
            fail_msg("token %d of sequence %d holds other numbers (isa %d, numerics %d, storage "
                     "%d, page_size %d)",
                     i, sequence, (int)rig->kind.isa, (int)rig->kind.numerics,
                     (int)rig->kind.storage, rig->kind.page_size);
        }
    }
}
