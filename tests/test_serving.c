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
#include "support/page_model.h"
#include "support/program.h"
#include "support/random.h"

enum { SEQUENCES = SIDE_SEQUENCES, OPERATIONS = 100 /* of a world */ };

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

/* Is everything held that tokens of the pieces see, in the layer? */
static bool sees_what_is_held(const struct side *side, const struct rig_piece *pieces,
                              int32_t count)
{
    bool held = true;
    for (int32_t b = 0; b < count; b++) {
        const int32_t s = pieces[b].sequence;
        for (int32_t i = 0; i < pieces[b].n; i++) {
            held = held && side_holds(&side->line[s], side->first[s], side->rig.kind.window,
                                      side->rig.more.chunk, pieces[b].token[i].position);
        }
    }
    return held;
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
    const bool room = side_has_room(side, pieces, call.count);
    const bool seen = sees_what_is_held(side, pieces, call.count);
    if (!room || !seen || starved) {
        remember(side);
    }
    side->rig.host.fail_at = starved ? side->rig.host.calls : -1;
    const gqa_status status = rig_forward(&side->rig, side->cache, &call, side->line, &output);
    side->rig.host.fail_at = -1;
    if (!room || !seen || starved) {
        assert_true((starved && status == GQA_ERR_NOMEM) || (!seen && status == GQA_ERR_ARG) ||
                    (!room && status == GQA_ERR_CACHE_FULL));
        expect_unchanged(side);
        return;
    }
    assert_int_equal(status, GQA_OK);
    for (int32_t b = 0; b < call.count; b++) {
        const struct rig_line *const line = &side->line[sequences[b]];
        if (!rig_as_alone(&side->rig, &call, b, line, &output)) {
            fail_msg("sequence %d does not give the bits of one alone", sequences[b]);
        }
    }
    side_append(side, pieces, call.count);
    for (int32_t b = 0; b < call.count; b++) {
        rig_grow(&side->line[sequences[b]], &pieces[b], call.columns);
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
    const bool room = side_has_room(side, &piece, 1);
    remember(side);
    const gqa_status status = gqa_cache_append(side->cache, s, &key, &value, positions, NULL);
    assert_int_equal(status, room ? GQA_OK : GQA_ERR_CACHE_FULL);
    if (room) {
        side_append(side, &piece, 1);
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
        side->first[to] = side->first[from];
        for (int32_t i = side_first_page(side, side->first[to]);
             i < side_pages_of(side, side->line[to].length); i++) {
            side->list[to][i] = side->list[from][i];
            side->holders[side->list[to][i]]++;
        }
    }
}

static void cut(struct side *side)
{
    const int32_t s = draw(0, SEQUENCES - 1);
    const int32_t length = draw(0, 2) == 0 ? 0 : draw(0, side->line[s].length);

    const bool sound = side_may_end(side, s, length);

    world.doing = length == 0 ? "free" : "truncate";
    remember(side);
    const gqa_status status = gqa_cache_truncate(side->cache, s, length, NULL);
    assert_int_equal(status, sound ? GQA_OK : GQA_ERR_ARG);
    if (sound) {
        side_cut(side, s, length);
    } else {
        expect_unchanged(side);
    }
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

/* Are the tokens from `first` on held, and what one would see that follows the last of kept [n]? */
static bool may_keep(const struct side *side, int32_t s, int32_t first, const int32_t *kept,
                     int32_t n)
{
    const int32_t end = n > 0 ? first + kept[n - 1] + 1 : first;
    return first >= side->first[s] &&
           (side_may_end(side, s, end) || first + n == side->line[s].length);
}

static void keep(struct side *side)
{
    const int32_t s = draw(0, SEQUENCES - 1);
    struct rig_line *const line = &side->line[s];
    const int32_t last = draw(0, line->length), first = line->length - last;
    int32_t kept[SIDE_TOKENS], places[SIDE_LIST], n = 0, copies = 0;

    world.doing = "keep";
    for (int32_t i = 0; i < last; i++) {
        if (draw(0, 3) != 0) {
            kept[n++] = i;
        }
    }
    if (!may_keep(side, s, first, kept, n)) {
        remember(side);
        assert_int_equal(gqa_cache_keep(side->cache, s, last, kept, n, NULL), GQA_ERR_ARG);
        expect_unchanged(side);
        return;
    }
    const int32_t moves = list_moves(side, first, kept, n, places);
    for (int32_t i = 0; i < moves; i++) {
        copies += side_is_shared(side, s, places[i]);
    }
    const bool room = copies <= side_free_pages(side);
    remember(side);
    const gqa_status status = gqa_cache_keep(side->cache, s, last, kept, n, NULL);
    assert_int_equal(status, room ? GQA_OK : GQA_ERR_CACHE_FULL);
    if (!room) {
        expect_unchanged(side);
        return;
    }
    for (int32_t i = 0; i < moves; i++) {
        side_own_page(side, s, places[i]);
    }
    for (int32_t i = 0; i < n; i++) {
        line->token[first + i] = line->token[first + kept[i]];
    }
    side_cut(side, s, first + n);
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
    const int32_t first = t->from->first[t->source];
    const int32_t begin = side_first_page(t->to, first);
    const bool room = line->length <= t->to->max_tokens &&
                      side_pages_of(t->to, line->length) - begin <= side_free_pages(t->to);
    const bool held = first == 0 || side_holds(line, first, t->to->window, t->to->chunk,
                                               line->token[line->length - 1].position + 1);

    if (t->to->line[t->target].length > 0 || (t->from == t->to && t->source == t->target)) {
        /* A saved sequence that is empty may be loaded where it came from; nothing is copied to
         * itself. */
        assert_true(status == GQA_ERR_ARG || (line->length == 0 && status == GQA_OK));
    } else {
        assert_int_equal(status, !held ? GQA_ERR_ARG : room ? GQA_OK : GQA_ERR_CACHE_FULL);
    }
    if (status == GQA_OK) {
        t->to->line[t->target] = *line;
        t->to->first[t->target] = first;
        for (int32_t i = begin; i < side_pages_of(t->to, line->length); i++) {
            side_take_page(t->to, t->target, i);
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

/* Of the next kind from `at` on that the machine has, with like's storage unless that is NULL. */
static void open_side(struct side *side, int at, const struct rig_kind *like)
{
    struct rig_kind kind;
    struct rig_more more = {0};
    do {
        kind = rig_kinds[at++ % rig_kind_count];
        kind.page_size = 16 << draw(0, 2);
        kind.window = draw(0, 2) == 0 ? 0 : draw(1, 40);
        more.chunk = draw(0, 2) == 0 ? draw(1, 40) : 0;
    } while ((like != NULL && !rig_same_storage(&kind, like)) ||
             !rig_open_more(&side->rig, &kind, &more));
    if (draw(0, 2) != 0) { /* a ring, which may keep more than the layer sees */
        side->window = kind.window > 0 && draw(0, 3) != 0 ? kind.window + draw(0, 3) : 0;
        side->chunk = more.chunk > 0 ? more.chunk * draw(1, 2) : 0;
    }
    side->page_size = kind.page_size;
    side->max_tokens = draw(40, SIDE_TOKENS);
    side->pages = draw(4, SIDE_PAGES);
    side->rig.host.fail_at = side->rig.host.calls; /* once without memory */
    gqa_cache_options options;
    gqa_cache_options_init(&options, side->rig.layer);
    options.max_sequences = SEQUENCES;
    options.max_tokens = side->max_tokens;
    options.page_size = kind.page_size;
    options.num_pages = side->pages;
    options.dtype_k = options.dtype_v = kind.storage;
    options.rotate_k = options.rotate_v = kind.rotate ? 1 : 0;
    options.retain_window = side->window;
    options.retain_chunk = side->chunk;
    assert_int_equal(gqa_cache_create(&side->cache, side->rig.layer, &options, NULL),
                     GQA_ERR_NOMEM);
    side->rig.host.fail_at = -1;
    assert_int_equal(gqa_cache_create(&side->cache, side->rig.layer, &options, NULL), GQA_OK);
    side->bytes = side->rig.host.size;
    const int32_t panel = side->cache->layout.kernels->panel_keys;
    side->granule = side->page_size > panel ? side->page_size : panel;
}

static void run_world(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = world.random = seed;
    world.doing = "create";
    for (int i = 0; i < 2; i++) {
        open_side(&world.side[i], draw(0, rig_kind_count - 1),
                  i == 0 ? NULL : &world.side[0].rig.kind);
    }
    world.before = malloc(world.side[0].bytes > world.side[1].bytes ? world.side[0].bytes
                                                                    : world.side[1].bytes);
    assert_non_null(world.before);
    for (world.operation = 0; world.operation < OPERATIONS; world.operation++) {
        operate();
        for (int i = 0; i < 2; i++) {
            side_check(&world.side[i]);
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
