/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_trace.c - gqa trace: the pictures of docs/neuron-paths.md are what the command draws,
 * its JSON holds every event in the order of the kernel, backend cpu's beside it, and wrong usage
 * is refused. */
#ifndef GQA_TOOL_PATH
#include <stdio.h>

int main(void)
{
    puts("skipped: the command gqa is not built");
    return 0;
}
#else
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "support/command.h"
#include "support/program.h"

#define CASES GQA_SOURCE_DIR "/tests/golden_neuron/"

/* --- pictures ----------------------------------------------------------------------------------
 */

static char *read_file(const char *path)
{
    FILE *const in = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);

    assert_non_null(in);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, in) > 0);
    fclose(in);
    return text;
}

static void test_pictures(void **state)
{
    static const struct {
        const char *name, *words;
    } pictures[] = {
        {"flash_fwd", "--profile flash_fwd"},
        {"flash_fwd-4096", "--profile flash_fwd --tokens 4096"},
        {"cte", "--profile cte"},
        {"cte-2048", "--profile cte --tokens 2048 --window 300"},
        {"native_prefill", "--profile native_prefill"},
        {"native_prefix", "--profile native_prefix"},
        {"native_tkg", "--profile native_tkg"},
        {"flash_decoding", "--profile flash_decoding"},
        {"paged_schedule", "--profile paged_schedule"},
        {"beside-cpu", "--backend both --isa scalar"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        char words[256], path[512], text[4096];
        char *drawn, *shown;

        snprintf(words, sizeof words, "trace %s --svg test_neuron_trace.svg", pictures[i].words);
        snprintf(path, sizeof path, "%s/docs/pictures/neuron-%s.svg", GQA_SOURCE_DIR,
                 pictures[i].name);
        assert_int_equal(run_command(GQA_TOOL_PATH, words, "2>&1", text, sizeof text), 0);
        drawn = read_file("test_neuron_trace.svg");
        shown = read_file(path);
        if (strcmp(drawn, shown) != 0) {
            fail_msg("docs/pictures/neuron-%s.svg is not what gqa trace %s draws", pictures[i].name,
                     pictures[i].words);
        }
        free(drawn);
        free(shown);
        remove("test_neuron_trace.svg");
    }
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static json_t *trace_json(const char *words)
{
    char all[512], text[4096];
    json_error_t error;
    json_t *whole;

    snprintf(all, sizeof all, "trace %s --json test_neuron_trace.json", words);
    if (run_command(GQA_TOOL_PATH, all, "2>&1", text, sizeof text) != 0) {
        fail_msg("gqa %s: %s", all, text);
    }
    whole = json_load_file("test_neuron_trace.json", JSON_REJECT_DUPLICATES, &error);
    if (whole == NULL) {
        fail_msg("gqa %s: line %d: %s", all, error.line, error.text);
    }
    remove("test_neuron_trace.json");
    return whole;
}

static json_int_t number(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static bool is(const json_t *object, const char *name, const char *text)
{
    return strcmp(json_string_value(json_object_get(object, name)), text) == 0;
}

/* One head: the events' sums are the totals, orders rise, rows have their states. */
static void test_events(void **state)
{
    json_t *const whole = trace_json(CASES "n07_cte_window100_sinks.safetensors");
    const json_t *const events = json_object_get(whole, "events");
    json_int_t bytes = 0, madds = 0, tiles = 0, skipped = 0, sections = 0;

    (void)state;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *const event = json_array_get(events, i);
        const bool mm1 = is(event, "event", "mm1");
        const bool omitted =
            strncmp(json_string_value(json_object_get(event, "fate")), "skipped", 7) == 0;
        assert_int_equal(number(event, "order"), (json_int_t)i);
        bytes += number(event, "hbm_bytes");
        madds += number(event, "multiply_adds");
        tiles += mm1 && !omitted;
        skipped += mm1 && omitted;
        if (is(event, "event", "section")) {
            sections++;
            assert_int_equal(json_array_size(json_object_get(event, "m")), number(event, "rows"));
            assert_int_equal(json_array_size(json_object_get(event, "l")), number(event, "rows"));
        }
    }
    assert_int_equal(bytes, number(whole, "hbm_bytes"));
    assert_int_equal(madds, number(whole, "multiply_adds"));
    assert_int_equal(tiles, 7); /* as trace.mm1 of the file has it */
    assert_int_equal(skipped, 5);
    assert_int_equal(sections, 6);
    json_decref(whole);
}

/* --dump gives scores of one event and of no other. */
static void test_dump(void **state)
{
    json_t *const whole = trace_json("--profile flash_fwd --dump 2");
    const json_t *const events = json_object_get(whole, "events");

    (void)state;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *const event = json_array_get(events, i);
        const size_t dumped = json_array_size(json_object_get(event, "s")) +
                              json_array_size(json_object_get(event, "p"));
        assert_true((dumped == 128 * 512) == (i == 2));
        assert_true(dumped == 0 || i == 2);
    }
    json_decref(whole);
}

/* A case in another profile, with its losses. */
static void test_other_profile(void **state)
{
    json_t *const whole =
        trace_json(CASES "n06_cte_causal_sinks_tail.safetensors --profile flash_fwd "
                         "--lift-limits");

    (void)state;
    assert_true(is(whole, "profile", "flash_fwd"));
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(whole, "warnings"), 1), "text")),
                        "flash_fwd drops learned sinks");
    json_decref(whole);
}

/* --- backend cpu -------------------------------------------------------------------------------
 */

/* All of KV head 0 of a layer's case: sums are the totals of its heads, which are alike. */
static void check_cpu(const json_t *cpu, int heads)
{
    static const char *const sums[] = {"kv_bytes", "score_multiply_adds", "value_multiply_adds"};
    const json_t *const events = json_object_get(cpu, "events");
    json_int_t computed = 0, masked = 0;

    assert_true(is(cpu, "backend", "cpu"));
    for (size_t s = 0; s < 3; s++) {
        json_int_t sum = 0;
        for (size_t i = 0; i < json_array_size(events); i++) {
            sum += number(json_array_get(events, i), sums[s]);
        }
        assert_int_equal(heads * sum, number(cpu, sums[s]));
    }
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *const event = json_array_get(events, i);
        const bool told =
            strncmp(json_string_value(json_object_get(event, "fate")), "skip", 4) != 0;
        static const char *const arrays[] = {"seen_begin", "seen_end", "m", "l"};
        computed += told;
        masked += is(event, "fate", "masked");
        for (size_t a = 0; a < 4; a++) {
            assert_int_equal(json_array_size(json_object_get(event, arrays[a])),
                             told ? number(event, "rows") : 0);
        }
    }
    assert_int_equal(heads * computed, number(cpu, "tiles"));
    assert_int_equal(heads * masked, number(cpu, "tiles_masked"));
    assert_int_equal(heads * ((json_int_t)json_array_size(events) - computed),
                     number(cpu, "tiles_skipped"));
}

/* Beside a profile: the same call. 512 tokens of 8 heads, 128 rows a tile: 32 tiles against 2
 * blocks. Half of the tiles of rows have block 1 on their right; those that begin at token 384 have
 * block 0 on their left; and one token after 511 is a tile of 8 rows with 128 keys. */
static void test_both(void **state)
{
    json_t *whole = trace_json("--backend both --isa scalar");
    const json_t *cpu = json_object_get(whole, "cpu");

    (void)state;
    assert_true(is(json_object_get(whole, "neuron"), "profile", "cte"));
    check_cpu(cpu, 1);
    assert_int_equal(number(cpu, "group"), 8);
    assert_int_equal(number(cpu, "tiles"), 2 * 32 - 16 - 8);
    json_decref(whole);
    whole = trace_json("--backend both --isa scalar --profile native_tkg");
    cpu = json_object_get(whole, "cpu");
    check_cpu(cpu, 1);
    assert_int_equal(number(cpu, "tiles"), 1);
    assert_int_equal(number(cpu, "keys_read"), 128);
    assert_int_equal(number(cpu, "score_multiply_adds"), 8 * 128 * 64);
    json_decref(whole);
}

/* A case of a profile, one of a layer, and one with a past. n13 is two packed sequences. */
static void test_cpu_cases(void **state)
{
    static const struct {
        const char *path;
        int heads;
    } cases[] = {
        {CASES "n02_flash_window128_512.safetensors", 1},
        {CASES "n13_cte_packed.safetensors", 1},
        {CASES "n14_native_window_sinks.safetensors", 2},
        {GQA_SOURCE_DIR "/tests/golden/s01_gptoss_small_window.safetensors", 2},
        {GQA_SOURCE_DIR "/tests/golden/s15_decode_continuation.safetensors", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char words[512];
        json_t *whole;
        snprintf(words, sizeof words, "--backend cpu --numerics f32 %s", cases[i].path);
        whole = trace_json(words);
        check_cpu(whole, cases[i].heads);
        json_decref(whole);
    }
}

/* --- words -------------------------------------------------------------------------------------
 */

static void test_usage(void **state)
{
    static const struct {
        const char *words, *message;
    } usages[] = {
        {"trace --profile flash", "--profile is flash; it must be flash_fwd, cte,"},
        {"trace --release 2.28", "--release is 2.28; it must be 2.26, 2.27 or 2.29"},
        {"trace --accumulation double", "--accumulation is double; it must be exact or float32"},
        {"trace --tokens 0", "--tokens is 0"},
        {"trace --backend reference", "--backend is reference; it must be neuron, cpu or both"},
        {"trace --backend cpu --profile cte", "--profile is of Neuron's profiles, not of backend"},
        {"trace --dump=3 --backend cpu", "--dump=3 is of Neuron's profiles"},
        {"trace --backend cpu --isa avx1024", "--isa is avx1024"},
        {"trace --backend cpu --head 8", "the call has no batch entry 0 with a head 8"},
        {"trace --backend cpu " CASES "n09_cte_prefix.safetensors",
         "has other keys than those of its queries; for backend cpu it must not"},
        {"trace " GQA_SOURCE_DIR "/tests/golden/s12_mqa_rope.safetensors",
         "is no case of Neuron's profiles; --backend cpu traces a layer"},
        {"trace --head 1", "the call has no batch entry 0 with a head 1"},
        {"trace a b", "trace does not take b"},
        {"trace --fast", "trace does not take --fast"},
        {"trace missing.safetensors", "No such file"},
        {"trace --svg no/such/folder.svg", "no/such/folder.svg: cannot be written"},
        {"trace --json no/such/folder.json", "no/such/folder.json: cannot be written"},
        {"trace --profile flash_fwd --release 2.29", "is 2.29, which no longer calls flash_fwd"},
        {"trace --profile flash_fwd --tokens 700", "it must be a multiple of seq_tile"},
        {"trace " CASES "n18_tkg_ragged_sinks.safetensors --profile cte",
         "has other keys than those of its queries"},
        {"trace " CASES "n22_maps_strategy.safetensors",
         "holds maps of integers, which have no tiles"},
        {"trace --profile native_tkg --tokens 1", "at least 2 tokens"},
        {"run " CASES "n01_flash_causal_512.safetensors --backend reference",
         "is a case of Neuron's profiles"},
        {"run x --accumulation f32", "--accumulation is f32; it must be exact, float32 or both"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        char text[4096];
        const int status =
            run_command(GQA_TOOL_PATH, usages[i].words, "2>&1 >/dev/null", text, sizeof text);

        if (status != 2 || strstr(text, usages[i].message) == NULL) {
            fail_msg("gqa %s: status %d, %s", usages[i].words, status, text);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures), cmocka_unit_test(test_events),
        cmocka_unit_test(test_dump),     cmocka_unit_test(test_other_profile),
        cmocka_unit_test(test_both),     cmocka_unit_test(test_cpu_cases),
        cmocka_unit_test(test_usage),
    };
    return RUN_TESTS(argc, argv, tests);
}
#endif
