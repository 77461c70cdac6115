/* SPDX-License-Identifier: Apache-2.0 */
/* page_model.c - see page_model.h. */
#include "support/page_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"

int32_t side_pages_of(const struct side *side, int32_t tokens)
{
    return (tokens + side->page_size - 1) / side->page_size;
}

int32_t side_free_pages(const struct side *side)
{
    int32_t n = 0;
    for (int32_t i = 0; i < side->pages; i++) {
        n += side->holders[i] == 0;
    }
    return n;
}

int32_t side_first_page(const struct side *side, int32_t first)
{
    return first / side->granule * side->granule / side->page_size;
}

void side_take_page(struct side *side, int32_t s, int32_t place)
{
    int32_t page = 0;
    while (page < side->pages && side->holders[page] != 0) {
        page++;
    }
    assert_true(page < side->pages);
    side->holders[page] = 1;
    side->list[s][place] = page;
}

/* The sequence's page at this place is its own from now on. */
void side_own_page(struct side *side, int32_t s, int32_t place)
{
    const int32_t page = side->list[s][place];
    if (side->holders[page] > 1) {
        side_take_page(side, s, place);
        side->holders[page]--;
    }
}

bool side_is_shared(const struct side *side, int32_t s, int32_t place)
{
    return side->holders[side->list[s][place]] > 1;
}

/* ---- what has left ---- */

/* Does a token at `position` see `other`, by window and chunk? */
static bool sees(const struct rig_line *line, int32_t window, int32_t chunk, int32_t position,
                 int32_t other)
{
    const int32_t away = position - line->token[0].position;
    const int32_t in_chunk = chunk > 0 ? (away % chunk + chunk) % chunk : 0;

    return (window == 0 || other > position - window) &&
           (chunk == 0 || other >= position - in_chunk);
}

bool side_holds(const struct rig_line *line, int32_t first, int32_t window, int32_t chunk,
                int32_t position)
{
    for (int32_t i = 0; i < first; i++) {
        if (sees(line, window, chunk, position, line->token[i].position)) {
            return false;
        }
    }
    return true;
}

bool side_may_end(const struct side *side, int32_t s, int32_t length)
{
    const struct rig_line *const line = &side->line[s];

    return length == 0 || length == line->length ||
           (length > side->first[s] && side_holds(line, side->first[s], side->window, side->chunk,
                                                  line->token[length - 1].position + 1));
}

/* The first token held once those have left that none of the piece's tokens sees, nor one that
 * would follow the line's last. */
static int32_t first_after(const struct side *side, const struct rig_piece *piece)
{
    const struct rig_line *const line = &side->line[piece->sequence];
    int32_t first = side->first[piece->sequence];

    if (piece->n == 0 || line->length == 0 || (side->window == 0 && side->chunk == 0)) {
        return first;
    }
    int32_t lowest = line->token[line->length - 1].position + 1;
    for (int32_t i = 0; i < piece->n; i++) {
        lowest = piece->token[i].position < lowest ? piece->token[i].position : lowest;
    }
    for (int32_t end = (first / side->granule + 1) * side->granule;
         end < line->length && side_holds(line, end, side->window, side->chunk, lowest);
         end += side->granule) {
        first = end;
    }
    return first;
}

/* ---- operations ---- */

void side_append(struct side *side, const struct rig_piece *pieces, int32_t count)
{
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence, first = first_after(side, &pieces[b]);
        for (int32_t i = side_first_page(side, side->first[s]); i < side_first_page(side, first);
             i++) {
            side->holders[side->list[s][i]]--;
        }
        side->first[s] = first;
    }
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence, n = pieces[b].n, length = side->line[s].length;
        if (n > 0 && length % side->page_size != 0) {
            side_own_page(side, s, length / side->page_size);
        }
        for (int32_t i = side_pages_of(side, length); i < side_pages_of(side, length + n); i++) {
            side_take_page(side, s, i);
        }
    }
}

void side_cut(struct side *side, int32_t s, int32_t length)
{
    const int32_t begin = side_first_page(side, side->first[s]);
    const int32_t kept = side_pages_of(side, length) > begin ? side_pages_of(side, length) : begin;
    for (int32_t i = kept; i < side_pages_of(side, side->line[s].length); i++) {
        side->holders[side->list[s][i]]--;
    }
    rig_cut(&side->line[s], length);
    side->first[s] = length > 0 ? side->first[s] : 0;
}

/* Would n[i] more tokens for each of these sequences find their pages? */
static bool pages_suffice(const struct side *side, const struct rig_piece *pieces, int32_t count)
{
    int32_t left[SIDE_PAGES]; /* holders that have not left a page yet */
    int32_t wanted = 0;
    memcpy(left, side->holders, sizeof left);
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence, first = first_after(side, &pieces[b]);
        for (int32_t i = side_first_page(side, side->first[s]); i < side_first_page(side, first);
             i++) {
            wanted -= --left[side->list[s][i]] == 0;
        }
    }
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence, length = side->line[s].length;
        wanted += side_pages_of(side, length + pieces[b].n) - side_pages_of(side, length);
        if (pieces[b].n > 0 && length % side->page_size != 0) {
            wanted += left[side->list[s][length / side->page_size]]-- > 1;
        }
    }
    return wanted <= side_free_pages(side);
}

bool side_has_room(const struct side *side, const struct rig_piece *pieces, int32_t count)
{
    for (int32_t b = 0; b < count; b++) {
        if (side->line[pieces[b].sequence].length + pieces[b].n > side->max_tokens) {
            return false;
        }
    }
    return pages_suffice(side, pieces, count);
}

/* ---- comparing ---- */

void side_check(const struct side *side)
{
    const gqa_cache *const cache = side->cache;
    int32_t holders[SIDE_PAGES] = {0};
    assert_int_equal(gqa_cache_free_pages(cache), side_free_pages(side));
    for (int32_t s = 0; s < SIDE_SEQUENCES; s++) {
        assert_int_equal(gqa_cache_first(cache, s), side->first[s]);
        for (int32_t i = side_first_page(side, side->first[s]);
             i < side_pages_of(side, side->line[s].length); i++) {
            const int32_t page = cache->sequences[s].pages[i];
            assert_true(page >= 0 && page < side->pages);
            holders[page]++;
            assert_int_equal(cache->holders[page], side->holders[side->list[s][i]]);
        }
    }
    for (int32_t i = 0; i < side->pages; i++) {
        assert_int_equal(cache->holders[i], holders[i]);
    }
    for (int64_t i = 0; i < cache->free_count; i++) {
        assert_int_equal(holders[cache->free_pages[i]]++, 0); /* free, and in the list once */
    }
}
