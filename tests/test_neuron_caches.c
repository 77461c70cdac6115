/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_caches.c - caches that hold a window, a chunk or a share of the tokens: worked
 * examples, and runs of many steps in which each token must see what it should and nothing else. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/neuron_maps.h"
#include "support/program.h"
#include "support/refusal.h"

enum { ROOM = 1024, GARBAGE = -1000000 };

static void same(const int32_t *got, const int32_t *want, int32_t n, const char *what)
{
    for (int32_t i = 0; i < n; i++) {
        if (got[i] != want[i]) {
            fail_msg("%s[%d] is %d; it must be %d", what, (int)i, (int)got[i], (int)want[i]);
        }
    }
}

/* --- rolling windows ----------------------------------------------------------------------------
 */

static void window_slots(void **state)
{
    static const struct {
        gqa_neuron_window window;
        int32_t last, slots, want[4];
    } rows[] = {
        {{229, 4, 0}, 3, 3, {3, 1, 2}},    {{229, 4, 0}, 6, 3, {6, 4, 5}},
        {{229, 4, 0}, 2, 3, {0, 1, 2}},    {{229, 4, 0}, 7, 3, {6, 7, 5}},
        {{229, 4, 2}, 3, 4, {0, 1, 2, 3}}, {{229, 4, 2}, 7, 4, {4, 5, 6, 7}},
        {{226, 4, 0}, 3, 4, {0, 1, 2, 3}}, {{226, 4, 0}, 6, 4, {4, 5, 6, 3}},
        {{226, 4, 0}, 7, 4, {4, 5, 6, 7}}, {{0, 4, 0}, 0, 3, {0, 1, 2}},
        {{226, 1, 1}, 9, 1, {9}},          {{229, 2, 0}, 9, 1, {9}},
        {{229, 2, 3}, 9, 3, {9, 7, 8}},    {{227, 4, 0}, 6, 3, {6, 4, 5}},
        {{227, 4, 2}, 7, 4, {4, 5, 6, 7}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t slots = -1, got[ROOM];
        assert_int_equal(gqa_neuron_window_size(&rows[i].window, &slots, NULL, NULL), GQA_OK);
        assert_int_equal(slots, rows[i].slots);
        assert_int_equal(gqa_neuron_window_slots(&rows[i].window, rows[i].last, got, NULL), GQA_OK);
        same(got, rows[i].want, slots, "slot");
    }
}

static void window_widths(void **state)
{
    static const int32_t rows[][4] = {
        {128, 0, 127, 128}, {128, 1, 127, 128}, {11, 3, 12, 128},   {128, 3, 129, 256},
        {127, 3, 128, 256}, {126, 3, 127, 128}, {128, 2, 128, 256}, {2, 2, 2, 128},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gqa_neuron_window window = {229, rows[i][0], rows[i][1]};
        int32_t slots = -1, width = -1;
        assert_int_equal(gqa_neuron_window_size(&window, &slots, &width, NULL), GQA_OK);
        assert_int_equal(slots, rows[i][2]);
        assert_int_equal(width, rows[i][3]);
    }
}

/* The masked slots of the docstrings: 2.26 masks the one that is about to be overwritten. */
static void window_masks(void **state)
{
    static const struct {
        int32_t release, position;
        uint8_t want[4];
    } rows[] = {
        {226, 3, {1, 1, 1, 0}}, {226, 5, {1, 0, 1, 1}}, {226, 4, {0, 1, 1, 1}},
        {226, 0, {0, 0, 0, 0}}, {229, 0, {0, 0, 0, 0}}, {229, 2, {1, 1, 0, 0}},
        {229, 3, {1, 1, 1, 0}}, {229, 9, {1, 1, 1, 0}}, {227, 2, {1, 1, 0, 0}},
        {227, 9, {1, 1, 1, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gqa_neuron_window window = {(gqa_neuron_release)rows[i].release, 4, 0};
        uint8_t got[4];
        assert_int_equal(gqa_neuron_window_decode(&window, rows[i].position, got, NULL, NULL),
                         GQA_OK);
        assert_memory_equal(got, rows[i].want, 4);
    }
}

/* The slots of a mask hold the last positions before `position` that a window of w admits. */
static void check_seen(const int32_t *held, const uint8_t *mask, int32_t width, int32_t position,
                       int32_t w, int32_t newest)
{
    bool seen[ROOM] = {false};

    for (int32_t s = 0; s < width; s++) {
        if (mask[s] != 0) {
            assert_true(held[s] >= 0 && held[s] < ROOM && !seen[held[s]]);
            seen[held[s]] = true;
        }
    }
    for (int32_t p = 0; p < newest; p++) {
        if (seen[p] != (position - p < w)) {
            fail_msg("window %d: position %d sees %d: %d", (int)w, (int)position, (int)p, seen[p]);
        }
    }
}

/* A prompt, then tokens one by one. */
static void decode(const gqa_neuron_window *window, int32_t prompt)
{
    int32_t held[ROOM], slots, width;

    for (int32_t s = 0; s < ROOM; s++) {
        held[s] = GARBAGE;
    }
    assert_int_equal(gqa_neuron_window_size(window, &slots, &width, NULL), GQA_OK);
    assert_int_equal(gqa_neuron_window_slots(window, prompt - 1, held, NULL), GQA_OK);
    for (int32_t s = 0; s < slots; s++) {
        held[s] = held[s] < prompt ? held[s] : GARBAGE; /* padding */
    }
    for (int32_t p = prompt; p < prompt + 3 * window->window + 2; p++) {
        uint8_t mask[ROOM];
        int32_t slot = -1;
        assert_int_equal(gqa_neuron_window_decode(window, p, mask, &slot, NULL), GQA_OK);
        check_seen(held, mask, width, p, window->window, p);
        assert_true(slot >= 0 && slot < slots);
        held[slot] = p;
    }
}

static void window_runs(void **state)
{
    (void)state;
    for (int32_t w = 1; w <= 13; w++) {
        for (int32_t prompt = 1; prompt <= 3 * w + 1; prompt++) {
            decode(&(gqa_neuron_window){226, w, 0}, prompt);
            if (w > 1) {
                decode(&(gqa_neuron_window){227, w, 0}, prompt);
                decode(&(gqa_neuron_window){229, w, 0}, prompt);
            }
        }
    }
}

/* Steps of k drafts, of which a varying number is accepted; what the others leave behind is never
 * seen. */
static void speculate(const gqa_neuron_window *window, int32_t prompt)
{
    const int32_t k = window->speculation_length;
    int32_t held[ROOM], slots, width, first = prompt;

    for (int32_t s = 0; s < ROOM; s++) {
        held[s] = GARBAGE;
    }
    assert_int_equal(gqa_neuron_window_size(window, &slots, &width, NULL), GQA_OK);
    assert_int_equal(gqa_neuron_window_slots(window, prompt - 1, held, NULL), GQA_OK);
    for (int32_t s = 0; s < slots; s++) {
        held[s] = held[s] < prompt ? held[s] : GARBAGE; /* padding */
    }
    for (int32_t step = 0; first < prompt + 3 * window->window; step++) {
        const int32_t accepted = 1 + step * 5 % k;
        uint8_t mask[8 * 256];
        int32_t logical[ROOM];
        assert_int_equal(gqa_neuron_window_speculate(window, first, logical, mask, NULL), GQA_OK);
        for (int32_t t = 0; t < k; t++) {
            check_seen(held, mask + (size_t)t * (size_t)width, width, first + t, window->window,
                       first);
        }
        for (int32_t t = 0; t < k; t++) {
            held[(first + t) % slots] = t < accepted ? first + t : GARBAGE;
        }
        first += accepted;
    }
}

static void speculation_runs(void **state)
{
    (void)state;
    for (int32_t w = 2; w <= 11; w++) {
        for (int32_t k = 2; k <= 6; k++) {
            for (int32_t prompt = 1; prompt <= 2 * w + 1; prompt++) {
                speculate(&(gqa_neuron_window){227, w, k}, prompt);
                speculate(&(gqa_neuron_window){229, w, k}, prompt);
            }
        }
    }
}

/* The example of the docstring: W 11, k 3, from position 12 on. */
static void speculation_example(void **state)
{
    const gqa_neuron_window window = {229, 11, 3};
    uint8_t mask[3 * 128];
    int32_t logical[12];

    (void)state;
    assert_int_equal(gqa_neuron_window_speculate(&window, 12, logical, mask, NULL), GQA_OK);
    for (int32_t s = 0; s < 12; s++) {
        assert_int_equal(logical[s], s);
    }
    for (int32_t t = 0; t < 3; t++) {
        for (int32_t s = 0; s < 128; s++) {
            assert_int_equal(mask[t * 128 + s], s >= 2 + t && s < 12);
        }
    }
    assert_int_equal(gqa_neuron_window_speculate(&window, 14, logical, NULL, NULL), GQA_OK);
    assert_int_equal(logical[0], 12);
    assert_int_equal(logical[1], 13);
    assert_int_equal(logical[2], 2);
    assert_int_equal(gqa_neuron_window_speculate(&window, 0, NULL, mask, NULL), GQA_OK);
    for (int32_t i = 0; i < 3 * 128; i++) {
        assert_int_equal(mask[i], 0); /* nothing yet */
    }
}

/* --- chunks -------------------------------------------------------------------------------------
 */

static void chunk_examples(void **state)
{
    static const struct {
        int32_t last, bucket, want[4];
    } rows[] = {
        {3, 8, {0, 1, 2, 3}},   {7, 8, {4, 5, 6, 7}},   {4, 8, {4, 5, 6, 7}},
        {5, 6, {4, 5, -1, -1}}, {1, 2, {0, 1, -1, -1}}, {0, 1, {0, -1, -1, -1}},
    };
    static const struct {
        int32_t position, slot;
        uint8_t want[4];
    } steps[] = {
        {4, 0, {0, 0, 0, 0}}, {3, 3, {1, 1, 1, 0}}, {5, 1, {1, 0, 0, 0}}, {0, 0, {0, 0, 0, 0}}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t got[4];
        assert_int_equal(gqa_neuron_chunk_slots(4, rows[i].last, rows[i].bucket, got, NULL),
                         GQA_OK);
        same(got, rows[i].want, 4, "slot");
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint8_t got[4];
        int32_t slot = -1;
        assert_int_equal(gqa_neuron_chunk_decode(4, steps[i].position, got, &slot, NULL), GQA_OK);
        assert_memory_equal(got, steps[i].want, 4);
        assert_int_equal(slot, steps[i].slot);
    }
}

/* Each token sees those of its own chunk before it, across borders. */
static void chunk_runs(void **state)
{
    (void)state;
    for (int32_t c = 1; c <= 9; c++) {
        for (int32_t prompt = 1; prompt <= 3 * c; prompt++) {
            int32_t held[ROOM];
            assert_int_equal(gqa_neuron_chunk_slots(c, prompt - 1, prompt, held, NULL), GQA_OK);
            for (int32_t p = prompt; p < prompt + 3 * c; p++) {
                uint8_t mask[ROOM];
                int32_t slot = -1, seen = 0;
                assert_int_equal(gqa_neuron_chunk_decode(c, p, mask, &slot, NULL), GQA_OK);
                for (int32_t s = 0; s < c; s++) {
                    seen += mask[s];
                    assert_true(mask[s] == 0 || (held[s] / c == p / c && held[s] < p));
                }
                assert_int_equal(seen, p % c);
                held[slot] = p;
            }
        }
    }
}

/* --- flash decoding -----------------------------------------------------------------------------
 */

/* Position 19 over 4 ranks: three ranks hold 5 tokens, the last one 4 and the new token. */
static void shared_example(void **state)
{
    static const int32_t prior[4] = {5, 5, 5, 4}, owns[4] = {0, 0, 0, 1};

    (void)state;
    for (int32_t rank = 0; rank < 4; rank++) {
        uint8_t active[1], got[8];
        int32_t sum = 0;
        assert_int_equal(gqa_neuron_flash_decoding_masks(
                             &(gqa_neuron_flash_decoding){19, 1, rank, 4, 8}, active, got, NULL),
                         GQA_OK);
        for (int32_t s = 0; s < 8; s++) {
            sum += got[s];
        }
        assert_int_equal(sum, prior[rank]);
        assert_int_equal(active[0], owns[rank]);
    }
}

/* Together the ranks count each past token once, and each new one once for those from it on. */
static void shared_runs(void **state)
{
    enum { K = 5 };

    (void)state;
    for (int32_t ranks = 1; ranks <= 9; ranks++) {
        for (int32_t first = 0; first < 40; first++) {
            int32_t past = 0, counted[K * K] = {0};
            for (int32_t rank = 0; rank < ranks; rank++) {
                const gqa_neuron_flash_decoding in = {first, K, rank, ranks, 41};
                uint8_t active[K * K], prior[41];
                assert_int_equal(gqa_neuron_flash_decoding_masks(&in, active, prior, NULL), GQA_OK);
                for (int32_t s = 0; s < 41; s++) {
                    assert_int_equal(prior[s], s * ranks + rank < first);
                    past += prior[s];
                }
                for (int32_t i = 0; i < K * K; i++) {
                    counted[i] += active[i];
                    assert_true(active[i] == 0 || (first + i % K) % ranks == rank);
                }
            }
            assert_int_equal(past, first);
            for (int32_t i = 0; i < K * K; i++) {
                assert_int_equal(counted[i], i % K <= i / K);
            }
        }
    }
}

/* --- ranges and Medusa --------------------------------------------------------------------------
 */

static void ranges(void **state)
{
    static const struct {
        int32_t begin, end;
        uint8_t want[5];
    } rows[] = {
        {0, 3, {1, 1, 1, 0, 0}}, {0, 0, {0, 0, 0, 0, 0}}, {0, 5, {1, 1, 1, 1, 1}},
        {2, 4, {0, 0, 1, 1, 0}}, {4, 1, {1, 0, 0, 0, 1}}, {5, 2, {1, 1, 0, 0, 0}},
        {3, 3, {0, 0, 0, 0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t got[5];
        assert_int_equal(gqa_neuron_range_mask(rows[i].begin, rows[i].end, 5, got, NULL), GQA_OK);
        assert_memory_equal(got, rows[i].want, 5);
    }
}

/* Positions 4 .. 8 were a tree; 5, 6 and 8 are accepted and must follow one another from 4 on. */
static void medusa(void **state)
{
    static const int32_t accepted[3] = {5, 6, 8}, current[3] = {4, 5, 6};
    static const int32_t want[10] = {0, 1, 2, 3, 5, 6, 8, 7, 8, 9};
    static const int32_t twice[2] = {5, 5};
    int32_t got[10];

    (void)state;
    assert_int_equal(gqa_neuron_medusa_slots(accepted, current, 3, got, 10, NULL), GQA_OK);
    same(got, want, 10, "source");
    assert_int_equal(gqa_neuron_medusa_slots(NULL, NULL, 0, got, 3, NULL), GQA_OK);
    assert_int_equal(got[2], 2);
    assert_int_equal(gqa_neuron_medusa_slots(twice, twice, 2, got, 10, NULL), GQA_OK);
    refused(gqa_neuron_medusa_slots(accepted, twice, 2, got, 10, &refusal), GQA_ERR_ARG, "current",
            "[1] is 5, which [0] is too, from another slot");
    refused(gqa_neuron_medusa_slots(accepted, current, 3, got, 8, &refusal), GQA_ERR_ARG,
            "accepted", "[2] is 8; there are 8 slots");
    refused(gqa_neuron_medusa_slots(current, accepted, 3, got, 8, &refusal), GQA_ERR_ARG, "current",
            "[2] is 8; there are 8 slots");
}

/* --- arguments ----------------------------------------------------------------------------------
 */

static void window_arguments(void **state)
{
    static const struct {
        gqa_neuron_window window;
        gqa_status status;
        const char *field, *text;
    } rows[] = {
        {{26, 4, 0}, GQA_ERR_ARG, "release", "is 26"},
        {{227, 1, 0}, GQA_ERR_ARG, "window.window", "is 1; it must be 2.."},
        {{226, 0, 0}, GQA_ERR_ARG, "window.window", "is 0; it must be 1.."},
        {{229, 1, 0}, GQA_ERR_ARG, "window.window", "is 1; it must be 2.."},
        {{229, 4, -1}, GQA_ERR_ARG, "window.speculation_length", "is -1"},
        {{226, 4, 2}, GQA_ERR_UNSUPPORTED, "window.speculation_length", "226"},
    };
    const gqa_neuron_window good = {229, 4, 0}, drafts = {229, 4, 2};
    int32_t number, numbers[ROOM];
    uint8_t mask[ROOM];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gqa_neuron_window *const w = &rows[i].window;
        const gqa_status want = rows[i].status;
        refused(gqa_neuron_window_size(w, &number, &number, &refusal), want, rows[i].field,
                rows[i].text);
        refused(gqa_neuron_window_slots(w, 3, numbers, &refusal), want, rows[i].field,
                rows[i].text);
        refused(gqa_neuron_window_decode(w, 3, mask, &number, &refusal), want, rows[i].field,
                rows[i].text);
        refused(gqa_neuron_window_speculate(w, 3, numbers, mask, &refusal), want, rows[i].field,
                rows[i].text);
    }
    refused(gqa_neuron_window_size(NULL, &number, NULL, &refusal), GQA_ERR_ARG, "window", "NULL");
    refused(gqa_neuron_window_slots(&good, -1, numbers, &refusal), GQA_ERR_ARG, "last_position",
            "-1");
    refused(gqa_neuron_window_slots(&good, 1, NULL, &refusal), GQA_ERR_ARG, "positions", "NULL");
    refused(gqa_neuron_window_decode(&good, -1, mask, NULL, &refusal), GQA_ERR_ARG, "position",
            "-1");
    refused(gqa_neuron_window_decode(&drafts, 1, mask, NULL, &refusal), GQA_ERR_ARG,
            "window.speculation_length", "is 2; it must be 0..1");
    refused(gqa_neuron_window_speculate(&good, 1, numbers, mask, &refusal), GQA_ERR_ARG,
            "window.speculation_length", "is 0; it must be 2..");
    refused(gqa_neuron_window_speculate(&drafts, -1, numbers, mask, &refusal), GQA_ERR_ARG, "first",
            "-1");
}

static void other_arguments(void **state)
{
    static const struct {
        gqa_neuron_flash_decoding in;
        const char *field, *text;
    } rows[] = {
        {{-1, 1, 0, 4, 8}, "first_position", "is -1"},
        {{9, 0, 0, 4, 8}, "tokens", "is 0"},
        {{9, 1, 0, 0, 8}, "ranks", "is 0"},
        {{9, 1, 4, 4, 8}, "rank", "0..3"},
        {{9, 1, -1, 4, 8}, "rank", "0..3"},
        {{9, 1, 0, 4, 2}, "slots", "is 2; it must be 3"},
    };
    const gqa_status arg = GQA_ERR_ARG;
    int32_t numbers[ROOM];
    uint8_t mask[ROOM];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(gqa_neuron_flash_decoding_masks(&rows[i].in, mask, mask, &refusal), arg,
                rows[i].field, rows[i].text);
    }
    refused(gqa_neuron_flash_decoding_masks(NULL, mask, mask, &refusal), arg, "input", "NULL");
    refused(gqa_neuron_chunk_slots(0, 0, 1, numbers, &refusal), arg, "chunk", "is 0");
    refused(gqa_neuron_chunk_slots(4, 0, 0, numbers, &refusal), arg, "bucket", "is 0");
    refused(gqa_neuron_chunk_slots(4, 6, 6, numbers, &refusal), arg, "last_position", "0..5");
    refused(gqa_neuron_chunk_slots(4, 1, 6, NULL, &refusal), arg, "positions", "NULL");
    refused(gqa_neuron_chunk_decode(0, 1, mask, NULL, &refusal), arg, "chunk", "is 0");
    numbers[0] = 77;
    refused(gqa_neuron_chunk_decode(4, -1, mask, numbers, &refusal), arg, "position", "is -1");
    assert_int_equal(numbers[0], 77);
    refused(gqa_neuron_range_mask(0, 1, 0, mask, &refusal), arg, "slots", "is 0");
    refused(gqa_neuron_range_mask(6, 1, 5, mask, &refusal), arg, "begin", "0..5");
    refused(gqa_neuron_range_mask(0, 6, 5, mask, &refusal), arg, "end", "0..5");
    refused(gqa_neuron_range_mask(0, 1, 5, NULL, &refusal), arg, "mask", "NULL");
    refused(gqa_neuron_medusa_slots(numbers, numbers, 1, numbers, 0, &refusal), arg, "slots",
            "is 0");
    refused(gqa_neuron_medusa_slots(numbers, numbers, 6, numbers, 5, &refusal), arg, "tokens",
            "0..5");
    refused(gqa_neuron_medusa_slots(NULL, numbers, 1, numbers, 5, &refusal), arg, "accepted",
            "NULL");
    numbers[0] = 0;
    refused(gqa_neuron_medusa_slots(numbers, NULL, 1, numbers, 5, &refusal), arg, "current",
            "NULL");
    refused(gqa_neuron_medusa_slots(numbers, numbers, 1, NULL, 5, &refusal), arg, "source", "NULL");
    numbers[0] = -1;
    refused(gqa_neuron_medusa_slots(numbers, numbers, 1, numbers + 1, 5, &refusal), arg, "accepted",
            "[0] is -1");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_slots),     cmocka_unit_test(window_widths),
        cmocka_unit_test(window_masks),     cmocka_unit_test(window_runs),
        cmocka_unit_test(speculation_runs), cmocka_unit_test(speculation_example),
        cmocka_unit_test(chunk_examples),   cmocka_unit_test(chunk_runs),
        cmocka_unit_test(shared_example),   cmocka_unit_test(shared_runs),
        cmocka_unit_test(ranges),           cmocka_unit_test(medusa),
        cmocka_unit_test(window_arguments), cmocka_unit_test(other_arguments),
    };
    return RUN_TESTS(argc, argv, tests);
}
