/* SPDX-License-Identifier: Apache-2.0 */
/* test_serving.c - what a serving engine does to its caches, at random: append, forward, fork,
 * truncate, keep, save, load, copy, with pages that run out and allocations that fail, against a
 * model that knows each sequence's tokens and each page's holders. Every result is compared with
 * that of the sequence alone, bit by bit.
 *
 * usage: test_serving [SEED]   with a seed, that world alone
 *
 * 4000 operations in 40 worlds; with GQA_TEST_LONG=1 100000 in 1000; GQA_TEST_BRIEF=N: one of N.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/fewer_cases.h"
#include "support/program.h"
#include "support/random.h"
#include "support/sequence_lines.h"

enum {
    SEQUENCES = 6,
    OPERATIONS = 100, /* of a world */
    MOST_TOKENS = 100,
    MOST_PAGES = 24,                 /* of a pool */
    MOST_LIST = MOST_TOKENS / 16 + 1 /* pages of a sequence */
};

/* A cache, and what it should be. */
struct side {
    struct rig rig;
    gqa_cache *cache;
    size_t bytes;
    int32_t max_tokens, page_size, pages;
    struct rig_line line[SEQUENCES];
    int32_t holders[MOST_PAGES];        /* of the model's pages, whose numbers are its own */
    int32_t list[SEQUENCES][MOST_LIST]; /* the model's pages of each sequence */
};

struct world {
    uint64_t seed, random;
    struct side side[2];
    int operation;
    const char *doing;
    bool done;
    unsigned char *before; /* the bytes of a cache */
};

static struct world world;

static int32_t draw(int32_t low, int32_t high)
{
    return random_between(&world.random, low, high);
}

/* ---- the model of pages ---- */

static int32_t pages_of(const struct side *side, int32_t tokens)
{
    return (tokens + side->page_size - 1) / side->page_size;
}

static int32_t free_pages(const struct side *side)
{
    int32_t n = 0;
    for (int32_t i = 0; i < side->pages; i++) {
        n += side->holders[i] == 0;
    }
    return n;
}

static void take_page(struct side *side, int32_t s, int32_t place)
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
static void own_page(struct side *side, int32_t s, int32_t place)
{
    const int32_t page = side->list[s][place];
    if (side->holders[page] > 1) {
        take_page(side, s, place);
        side->holders[page]--;
    }
}

static bool is_shared(const struct side *side, int32_t s, int32_t place)
{
    return side->holders[side->list[s][place]] > 1;
}

static void model_append(struct side *side, int32_t s, int32_t n)
{
    const int32_t length = side->line[s].length;
    if (n > 0 && length % side->page_size != 0) {
        own_page(side, s, length / side->page_size);
    }
    for (int32_t i = pages_of(side, length); i < pages_of(side, length + n); i++) {
        take_page(side, s, i);
    }
}

static void model_cut(struct side *side, int32_t s, int32_t length)
{
    for (int32_t i = pages_of(side, length); i < pages_of(side, side->line[s].length); i++) {
        side->holders[side->list[s][i]]--;
    }
    rig_cut(&side->line[s], length);
}

/* Would n[i] more tokens for each of these sequences find their pages? */
static bool pages_suffice(const struct side *side, const struct rig_piece *pieces, int32_t count)
{
    int32_t left[MOST_PAGES]; /* holders that have not left a page yet */
    int32_t wanted = 0;
    memcpy(left, side->holders, sizeof left);
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence, length = side->line[s].length;
        wanted += pages_of(side, length + pieces[b].n) - pages_of(side, length);
        if (pieces[b].n > 0 && length % side->page_size != 0) {
            wanted += left[side->list[s][length / side->page_size]]-- > 1;
        }
    }
    return wanted <= free_pages(side);
}

static bool has_room(const struct side *side, const struct rig_piece *pieces, int32_t count)
{
    for (int32_t b = 0; b < count; b++) {
        if (side->line[pieces[b].sequence].length + pieces[b].n > side->max_tokens) {
            return false;
        }
    }
    return pages_suffice(side, pieces, count);
}

/* ---- comparing ---- */

static void check_pages(const struct side *side)
{
    const gqa_cache *const cache = side->cache;
    int32_t holders[MOST_PAGES] = {0};
    assert_int_equal(gqa_cache_free_pages(cache), free_pages(side));
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t i = 0; i < pages_of(side, side->line[s].length); i++) {
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

static void remember(const struct side *side)
{
    memcpy(world.before, side->cache, side->bytes);
}

static void expect_unchanged(const struct side *side)
{
    assert_memory_equal(world.before, side->cache, side->bytes);
}

/* ---- operations ---- */

/* Up to three sequences, each once. */
static int32_t draw_sequences(int32_t *sequences)
{
    const int32_t count = draw(1, 3), first = draw(0, SEQUENCES - 1);
    const int32_t step = draw(0, 1) == 0 ? 1 : 5; /* either way round */
    for (int32_t b = 0; b < count; b++) {
        sequences[b] = (first + b * step) % SEQUENCES;
    }
    return count;
}

/* A call for some sequences, perhaps with too many tokens, perhaps without memory. */
static void forward(struct side *side)
{
    static struct rig_output output;
    struct rig_piece pieces[3];
    int32_t sequences[3];
    struct rig_call call = {pieces, draw_sequences(sequences), 0, draw(0, 2) == 0};
    const bool starved = draw(0, 15) == 0;

    world.doing = "forward";
    for (int32_t b = 0; b < call.count; b++) {
        const int32_t n = draw(0, 2) == 0 ? draw(0, RIG_PIECE) : draw(0, 3);
        rig_draw(&side->line[sequences[b]], sequences[b], n, call.masked, &world.random,
                 &pieces[b]);
        const int32_t end = pieces[b].padding + n;
        call.columns = end > call.columns ? end : call.columns;
    }
    call.columns = draw(call.columns > 0 ? call.columns : 1, RIG_PIECE);
    const bool room = has_room(side, pieces, call.count);
    if (!room || starved) {
        remember(side);
    }
    side->rig.host.fail_at = starved ? side->rig.host.calls : -1;
    const gqa_status status = rig_forward(&side->rig, side->cache, &call, side->line, &output);
    side->rig.host.fail_at = -1;
    if (!room || starved) {
        assert_true((starved && status == GQA_ERR_NOMEM) ||
                    (!room && status == GQA_ERR_CACHE_FULL));
        expect_unchanged(side);
        return;
    }
    assert_int_equal(status, GQA_OK);
    for (int32_t b = 0; b < call.count; b++) {
        struct rig_line *const line = &side->line[sequences[b]];
        if (!rig_as_alone(&side->rig, &call, b, line, &output)) {
            fail_msg("sequence %d does not give the bits of one alone", sequences[b]);
        }
        model_append(side, sequences[b], pieces[b].n);
        rig_grow(line, &pieces[b], call.columns);
    }
}

static void append(struct side *side)
{
    static float k[RIG_PIECE * RIG_HKV * RIG_DK], v[RIG_PIECE * RIG_HKV * RIG_DV];
    const int32_t s = draw(0, SEQUENCES - 1), n = draw(0, 20);
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, n, RIG_HKV, RIG_DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, n, RIG_HKV, RIG_DV);
    struct rig_line *const line = &side->line[s];
    struct rig_piece piece;
    int32_t positions[RIG_PIECE];

    world.doing = "append";
    rig_draw(line, s, n, false, &world.random, &piece);
    for (int32_t i = 0; i < n; i++) {
        rig_numbers(piece.token[i].seed, k + i * RIG_HKV * RIG_DK, v + i * RIG_HKV * RIG_DV);
        positions[i] = piece.token[i].position;
        piece.token[i].column = line->columns + i;
    }
    const bool room = has_room(side, &piece, 1);
    remember(side);
    const gqa_status status = gqa_cache_append(side->cache, s, &key, &value, positions, NULL);
    assert_int_equal(status, room ? GQA_OK : GQA_ERR_CACHE_FULL);
    if (room) {
        model_append(side, s, n);
        rig_grow(line, &piece, n);
    } else {
        expect_unchanged(side);
    }
}

/* A sequence that holds nothing, mostly, if there is one. */
static int32_t draw_target(const struct side *side)
{
    int32_t s = draw(0, SEQUENCES - 1);
    for (int32_t tries = draw(0, 2 * SEQUENCES); tries > 0 && side->line[s].length > 0; tries--) {
        s = (s + 1) % SEQUENCES;
    }
    return s;
}

static void fork_one(struct side *side)
{
    const int32_t from = draw(0, SEQUENCES - 1), to = draw_target(side);
    const bool sound = from != to && side->line[to].length == 0;

    world.doing = "fork";
    const gqa_status status = gqa_cache_fork(side->cache, from, to, NULL);
    assert_int_equal(status, sound ? GQA_OK : GQA_ERR_ARG);
    if (sound) {
        side->line[to] = side->line[from];
        for (int32_t i = 0; i < pages_of(side, side->line[to].length); i++) {
            side->list[to][i] = side->list[from][i];
            side->holders[side->list[to][i]]++;
        }
    }
}

static void cut(struct side *side)
{
    const int32_t s = draw(0, SEQUENCES - 1);
    const int32_t length = draw(0, 2) == 0 ? 0 : draw(0, side->line[s].length);

    world.doing = length == 0 ? "free" : "truncate";
    assert_int_equal(gqa_cache_truncate(side->cache, s, length, NULL), GQA_OK);
    model_cut(side, s, length);
}

/* Pages that tokens move to, of kept [n] from index `first` on: their places in the list. */
static int32_t list_moves(const struct side *side, int32_t first, const int32_t *kept, int32_t n,
                          int32_t *places)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t place = (first + i) / side->page_size;
        if (kept[i] != i && (count == 0 || places[count - 1] != place)) {
            places[count++] = place;
        }
    }
    return count;
}

static void keep(struct side *side)
{
    const int32_t s = draw(0, SEQUENCES - 1);
    struct rig_line *const line = &side->line[s];
    const int32_t last = draw(0, line->length), first = line->length - last;
    int32_t kept[MOST_TOKENS], places[MOST_LIST], n = 0, copies = 0;

    world.doing = "keep";
    for (int32_t i = 0; i < last; i++) {
        if (draw(0, 3) != 0) {
            kept[n++] = i;
        }
    }
    const int32_t moves = list_moves(side, first, kept, n, places);
    for (int32_t i = 0; i < moves; i++) {
        copies += is_shared(side, s, places[i]);
    }
    const bool room = copies <= free_pages(side);
    remember(side);
    const gqa_status status = gqa_cache_keep(side->cache, s, last, kept, n, NULL);
    assert_int_equal(status, room ? GQA_OK : GQA_ERR_CACHE_FULL);
    if (!room) {
        expect_unchanged(side);
        return;
    }
    for (int32_t i = 0; i < moves; i++) {
        own_page(side, s, places[i]);
    }
    for (int32_t i = 0; i < n; i++) {
        line->token[first + i] = line->token[first + kept[i]];
    }
    model_cut(side, s, first + n);
}

/* A sequence of one side also in an empty place, of the same side or the other. */
struct transfer {
    struct side *from, *to;
    int32_t source, target;
};

static struct transfer draw_transfer(void)
{
    struct side *const to = &world.side[draw(0, 1)];
    return (struct transfer){&world.side[draw(0, 1)], to, draw(0, SEQUENCES - 1), draw_target(to)};
}

static void finish_transfer(const struct transfer *t, gqa_status status)
{
    const struct rig_line *const line = &t->from->line[t->source];
    struct rig_piece piece = {.sequence = t->target, .n = line->length};
    const bool room = has_room(t->to, &piece, 1);

    if (t->to->line[t->target].length > 0 || (t->from == t->to && t->source == t->target)) {
        /* A saved sequence that is empty may be loaded where it came from; nothing is copied to
         * itself. */
        assert_true(status == GQA_ERR_ARG || (line->length == 0 && status == GQA_OK));
    } else {
        assert_int_equal(status, room ? GQA_OK : GQA_ERR_CACHE_FULL);
    }
    if (status == GQA_OK) {
        t->to->line[t->target] = *line;
        for (int32_t i = 0; i < pages_of(t->to, line->length); i++) {
            take_page(t->to, t->target, i);
        }
    } else {
        expect_unchanged(t->to);
    }
}

static void copy(void)
{
    const struct transfer t = draw_transfer();
    world.doing = "copy";
    remember(t.to);
    finish_transfer(&t, gqa_cache_copy(t.to->cache, t.target, t.from->cache, t.source, 0, NULL));
}

static void save_and_load(void)
{
    const struct transfer t = draw_transfer();
    size_t size = 0;

    world.doing = "save and load";
    assert_int_equal(gqa_cache_save_size(t.from->cache, t.source, &size, NULL), GQA_OK);
    unsigned char *const bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(gqa_cache_save(t.from->cache, t.source, bytes, size, NULL), GQA_OK);
    const size_t at = random_u32(&world.random) % size;
    const unsigned char bit = (unsigned char)(1u << draw(0, 7));
    remember(t.to);
    bytes[at] ^= bit;
    assert_true(gqa_cache_load(t.to->cache, t.target, bytes, size, 0, NULL) < GQA_OK);
    expect_unchanged(t.to);
    bytes[at] ^= bit;
    const gqa_status status = gqa_cache_load(t.to->cache, t.target, bytes, size, 0, NULL);
    free(bytes);
    finish_transfer(&t, status);
}

static void operate(void)
{
    struct side *const side = &world.side[draw(0, 1)];
    const int32_t which = draw(0, 15);
    if (which < 5) {
        forward(side);
    } else if (which < 7) {
        append(side);
    } else if (which < 9) {
        fork_one(side);
    } else if (which < 11) {
        cut(side);
    } else if (which < 13) {
        keep(side);
    } else if (which < 14) {
        copy();
    } else {
        save_and_load();
    }
}

/* ---- a world ---- */

/* Of a kind with this storage type that the machine has, the next one from `at` on. */
static void open_side(struct side *side, int at, gqa_dtype storage)
{
    struct rig_kind kind;
    do {
        kind = rig_kinds[at++ % rig_kind_count];
        kind.page_size = 16 << draw(0, 2);
    } while (kind.storage != storage || !rig_open(&side->rig, &kind));
    side->page_size = kind.page_size;
    side->max_tokens = draw(40, MOST_TOKENS);
    side->pages = draw(4, MOST_PAGES);
    side->rig.host.fail_at = side->rig.host.calls; /* once without memory */
    gqa_cache_options options;
    gqa_cache_options_init(&options, side->rig.layer);
    options.max_sequences = SEQUENCES;
    options.max_tokens = side->max_tokens;
    options.page_size = kind.page_size;
    options.num_pages = side->pages;
    options.dtype_k = options.dtype_v = storage;
    assert_int_equal(gqa_cache_create(&side->cache, side->rig.layer, &options, NULL),
                     GQA_ERR_NOMEM);
    side->rig.host.fail_at = -1;
    assert_int_equal(gqa_cache_create(&side->cache, side->rig.layer, &options, NULL), GQA_OK);
    side->bytes = side->rig.host.size;
}

static void run_world(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = world.random = seed;
    world.doing = "create";
    const gqa_dtype storage = draw(0, 1) == 0 ? GQA_F32 : GQA_BF16;
    for (int i = 0; i < 2; i++) {
        open_side(&world.side[i], draw(0, rig_kind_count - 1), storage);
    }
    world.before = malloc(world.side[0].bytes > world.side[1].bytes ? world.side[0].bytes
                                                                    : world.side[1].bytes);
    assert_non_null(world.before);
    for (world.operation = 0; world.operation < OPERATIONS; world.operation++) {
        operate();
        for (int i = 0; i < 2; i++) {
            check_pages(&world.side[i]);
            for (int32_t s = 0; s < SEQUENCES; s++) {
                lines_compare(&world.side[i].rig, world.side[i].cache, s, &world.side[i].line[s]);
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        struct side *const side = &world.side[i];
        for (int32_t s = 0; s < SEQUENCES; s++) {
            assert_int_equal(gqa_cache_truncate(side->cache, s, 0, NULL), GQA_OK);
        }
        assert_int_equal(gqa_cache_free_pages(side->cache), side->pages);
        gqa_cache_destroy(&side->cache);
        rig_close(&side->rig);
    }
    free(world.before);
    world.done = true;
}

static uint64_t one_seed; /* of the command line; 0 = all */

static void random_worlds(void **state)
{
    const int worlds = getenv("GQA_TEST_LONG") != NULL ? 1000 : fewer_cases(40);
    (void)state;
    if (one_seed != 0) {
        run_world(one_seed);
        return;
    }
    for (int i = 1; i <= worlds; i++) {
        run_world((uint64_t)i);
    }
}

/* Where a run ended that did not come through. */
static int say_where(void **state)
{
    (void)state;
    if (!world.done) {
        print_error("repeat with: test_serving %llu (operation %d: %s)\n",
                    (unsigned long long)world.seed, world.operation, world.doing);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(random_worlds, say_where)};
    one_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return RUN_TESTS(one_seed != 0 ? 1 : argc, argv, tests);
}
