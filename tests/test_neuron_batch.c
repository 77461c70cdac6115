/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_batch.c - the paged kernel within a layer: all entries of a call are the requests of
 * one call of the kernel, their pasts its contexts, the cache's pages its blocks. The bits are
 * those of the plain twin, with sums in f32 those of the profile's own call; padded or flat; and
 * what is refused, warned of and left as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "support/fewer_cases.h"
#include "support/host.h"
#include "support/native_twin.h"
#include "support/paged_twin.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { ENTRIES = 5, MOST = 320, ROWS = 1024, HQ = 4, HKV = 2, D = 16 };
enum { Q = HQ * D, K = HKV * D, CACHED = 160 * 1024 };

/* How the tokens of a call are given. */
enum form { RIGHT_PADDED, LEFT_PADDED, FLAT, FORMS };

struct setting {
    const char *name;
    int page_size;
    gqa_neuron_io io;
    gqa_neuron_accumulation accumulation;
    int calls, lengths[4][ENTRIES]; /* new tokens of each entry; 0 = none */
};

/* A layer that has attention alone, a cache, and all numbers of its sequences in the I/O type. */
struct bench {
    const struct setting *setting;
    gqa_config config;
    gqa_runtime runtime;
    gqa_layer *layer;
    gqa_cache *cache;
    int past[ENTRIES];
    float q[ENTRIES][MOST * Q], k[ENTRIES][MOST * K], v[ENTRIES][MOST * K];
    float out[ENTRIES][MOST * Q]; /* of the last call, its tokens */
    gqa_neuron_report report;
    gqa_path path;
    gqa_error err;
};
static struct bench bench;

static void numbers(float *x, int64_t n, bool bf16, uint64_t *seed)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = native_twin_round(2.0 * (double)random_float(seed), bf16);
    }
}

static gqa_config paged_config(void)
{
    gqa_config config = attention_config(HQ, HKV, D, 0);

    config.backend = GQA_BACKEND_NEURON;
    config.neuron_profile = GQA_NEURON_PAGED_SCHEDULE;
    return config;
}

static gqa_status bench_create(void)
{
    gqa_cache_options options;
    gqa_weights weights;
    gqa_status status;
    static float sinks[HQ] = {0.5f, 1.0f, 1.5f, 2.0f};

    gqa_weights_init(&weights);
    if (bench.config.learned_sinks_size != 0) {
        weights.sinks = gqa_tensor_1d(sinks, GQA_F32, HQ);
    }
    status = gqa_create(&bench.layer, &bench.config, &weights, &bench.runtime, &bench.err);
    if (status == GQA_OK) {
        gqa_cache_options_init(&options, bench.layer);
        options.max_sequences = ENTRIES;
        options.max_tokens = MOST;
        options.page_size = bench.setting->page_size;
        status = gqa_cache_create(&bench.cache, bench.layer, &options, &bench.err);
    }
    return status;
}

static void bench_open(const struct setting *setting)
{
    const bool bf16 = setting->io == GQA_NEURON_IO_BF16;
    uint64_t seed = 17;

    memset(&bench, 0, sizeof bench);
    bench.setting = setting;
    bench.config = paged_config();
    bench.config.neuron_io = setting->io;
    bench.config.neuron_accumulation = setting->accumulation;
    gqa_runtime_init(&bench.runtime);
    for (int r = 0; r < ENTRIES; r++) {
        numbers(bench.q[r], MOST * Q, bf16, &seed);
        numbers(bench.k[r], MOST * K, bf16, &seed);
        numbers(bench.v[r], MOST * K, bf16, &seed);
    }
}

static void bench_close(void)
{
    gqa_cache_destroy(&bench.cache);
    gqa_destroy(&bench.layer);
}

/* --- a call of the layer -----------------------------------------------------------------------
 */

/* Columns of an entry, and the first that is valid. */
static int most_of(const int *lengths)
{
    int most = 0;

    for (int r = 0; r < ENTRIES; r++) {
        most = lengths[r] > most ? lengths[r] : most;
    }
    return most;
}

static int64_t column_of(enum form form, const int *lengths, const int32_t *begin, int r)
{
    if (form == FLAT) {
        return begin[r];
    }
    return (int64_t)r * most_of(lengths) +
           (form == LEFT_PADDED ? most_of(lengths) - lengths[r] : 0);
}

/* The entries' new tokens. inputs: what more is said, or zeros. */
static gqa_status bench_run(const int *lengths, enum form form, const gqa_inputs *more)
{
    static float q[ROWS * ENTRIES * Q], k[ROWS * ENTRIES * K], v[ROWS * ENTRIES * K];
    static float out[ROWS * ENTRIES * Q];
    const int most = most_of(lengths);
    int32_t begin[ENTRIES + 1] = {0}, first[ENTRIES], valid[ENTRIES], sequences[ENTRIES];
    gqa_inputs in = *more;
    gqa_output output;
    int outer = ENTRIES, tokens = most;
    gqa_status status;

    for (int r = 0; r < ENTRIES; r++) {
        begin[r + 1] = begin[r] + lengths[r];
        first[r] = form == LEFT_PADDED ? most - lengths[r] : 0;
        valid[r] = lengths[r];
        sequences[r] = lengths[r] == 0 ? -1 : ENTRIES - 1 - r; /* not in the order of entries */
    }
    for (int r = 0; r < ENTRIES; r++) {
        const int64_t at = column_of(form, lengths, begin, r);
        memcpy(q + at * Q, bench.q[r] + bench.past[r] * Q, (size_t)(lengths[r] * Q) * sizeof *q);
        memcpy(k + at * K, bench.k[r] + bench.past[r] * K, (size_t)(lengths[r] * K) * sizeof *k);
        memcpy(v + at * K, bench.v[r] + bench.past[r] * K, (size_t)(lengths[r] * K) * sizeof *v);
    }
    in.struct_size = sizeof in;
    in.sequences = sequences;
    if (form == FLAT) {
        in.row_begin = begin;
        in.batch = ENTRIES;
        outer = 1;
        tokens = begin[ENTRIES];
    } else {
        in.first_valid = first;
        in.lengths = valid;
    }
    gqa_output_init(&output);
    gqa_neuron_report_init(&bench.report);
    in.q_proj = gqa_tensor_4d(q, GQA_F32, outer, tokens, HQ, D);
    in.k_proj = gqa_tensor_4d(k, GQA_F32, outer, tokens, HKV, D);
    in.v_proj = gqa_tensor_4d(v, GQA_F32, outer, tokens, HKV, D);
    output.attn = gqa_tensor_4d(out, GQA_F32, outer, tokens, HQ, D);
    output.neuron = &bench.report;
    status = gqa_forward(bench.layer, bench.cache, &in, &output, NULL, 0, &bench.err);
    bench.path = output.path;
    for (int r = 0; r < ENTRIES && status == GQA_OK; r++) {
        const int64_t at = column_of(form, lengths, begin, r);
        memcpy(bench.out[r], out + at * Q, (size_t)(lengths[r] * Q) * sizeof *out);
    }
    return status;
}

/* --- the same of the kernel alone --------------------------------------------------------------
 */

/* The requests of a call, their numbers rounded to bf16, as the kernel takes them. */
struct requests {
    struct paged_twin twin;
    int query_lens[ENTRIES], context_lens[ENTRIES], table[ENTRIES * MOST];
    float q[ROWS * Q], k[ROWS * K], v[ROWS * K], k_cache[CACHED], v_cache[CACHED];
    float m[ROWS * HQ], l[ROWS * HQ], o[ROWS * Q], out[ROWS * Q];
};
static struct requests requests;

static void copy_rounded(const float *from, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] = native_twin_round((double)from[i], true);
    }
}

/* The context of sequence r in the next blocks, in the order of the blocks of a request. */
static void fill_blocks(int r, int *table)
{
    struct paged_twin *const twin = &requests.twin;
    const int size = twin->block_size;

    for (int j = 0; j < bench.past[r]; j++) {
        if (j % size == 0) {
            table[j / size] = twin->blocks++;
        }
        for (int h = 0; h < HKV; h++) {
            const int64_t to = (((int64_t)table[j / size] * HKV + h) * size + j % size) * D;
            assert_true(to + D <= CACHED);
            copy_rounded(bench.k[r] + j * K + h * D, D, requests.k_cache + to);
            copy_rounded(bench.v[r] + j * K + h * D, D, requests.v_cache + to);
        }
    }
}

static void make_requests(const int *lengths)
{
    struct paged_twin *const twin = &requests.twin;
    int rows = 0;

    memset(&requests, 0, sizeof requests);
    *twin = (struct paged_twin){.hq = HQ,
                                .hkv = HKV,
                                .d = D,
                                .width = MOST,
                                .block_size = bench.setting->page_size,
                                .query_lens = requests.query_lens,
                                .context_lens = requests.context_lens,
                                .block_table = requests.table,
                                .q_tile = 128,
                                .kv_tile = 1024,
                                .q = requests.q,
                                .k = requests.k,
                                .v = requests.v,
                                .k_cache = requests.k_cache,
                                .v_cache = requests.v_cache,
                                .scale = (float)(1.0 / sqrt((double)D)),
                                .m = requests.m,
                                .l = requests.l,
                                .o = requests.o,
                                .out = requests.out};
    for (int r = 0; r < ENTRIES; r++) {
        const int past = bench.past[r], n = lengths[r];
        if (n == 0) {
            continue;
        }
        requests.query_lens[twin->requests] = n;
        requests.context_lens[twin->requests] = past;
        fill_blocks(r, requests.table + twin->requests++ * MOST);
        copy_rounded(bench.q[r] + past * Q, n * Q, requests.q + rows * Q);
        copy_rounded(bench.k[r] + past * K, n * K, requests.k + rows * K);
        copy_rounded(bench.v[r] + past * K, n * K, requests.v + rows * K);
        rows += n;
    }
    for (twin->tokens = 128; twin->tokens < rows; twin->tokens *= 2) {
    }
    assert_true(twin->tokens <= ROWS);
}

/* The profile's own call, for sums in f32. */
static void run_profile(void)
{
    struct paged_twin *const twin = &requests.twin;
    gqa_neuron_call call;
    gqa_neuron_output output;
    gqa_error err;

    gqa_neuron_call_init(&call);
    gqa_neuron_output_init(&output);
    call.profile = GQA_NEURON_PAGED_SCHEDULE;
    call.accumulation = bench.setting->accumulation;
    call.q = gqa_tensor_4d(requests.q, GQA_F32, 1, twin->tokens, HQ, D);
    call.k = gqa_tensor_4d(requests.k, GQA_F32, 1, twin->tokens, HKV, D);
    call.v = gqa_tensor_4d(requests.v, GQA_F32, 1, twin->tokens, HKV, D);
    call.k_cache =
        gqa_tensor_4d(requests.k_cache, GQA_F32, twin->blocks + 1, HKV, twin->block_size, D);
    call.v_cache = call.k_cache;
    call.v_cache.data = requests.v_cache;
    call.requests = twin->requests;
    call.query_lens = requests.query_lens;
    call.context_lens = requests.context_lens;
    call.block_table = requests.table;
    call.block_table_width = MOST;
    output.out = gqa_tensor_4d(requests.out, GQA_F32, 1, twin->tokens, HQ, D);
    if (gqa_neuron_attention(&call, &output, NULL, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bench.report.tiles, output.tiles);
    assert_int_equal(bench.report.madds, output.madds);
}

static void compare_call(const int *lengths, enum form form, int call)
{
    int row = 0;

    make_requests(lengths);
    run_profile();
    if (bench.setting->accumulation == GQA_NEURON_EXACT) {
        paged_twin_run(&requests.twin, PAGED_RIGHT);
    }
    for (int r = 0; r < ENTRIES; r++) {
        const size_t bytes = (size_t)(lengths[r] * Q) * sizeof(float);
        if (memcmp(bench.out[r], requests.out + row * Q, bytes) != 0) {
            fail_msg("%s, form %d, call %d: entry %d has other bits than the kernel's",
                     bench.setting->name, (int)form, call, r);
        }
        row += lengths[r];
    }
}

/* --- the tests ---------------------------------------------------------------------------------
 */

static const struct setting settings[] = {
    {"pages of 16",
     16,
     GQA_NEURON_IO_BF16,
     GQA_NEURON_EXACT,
     3,
     {{30, 1, 100, 0, 17}, {1, 40, 3, 9, 60}, {1, 1, 1, 1, 1}}},
    {"pages of 32",
     32,
     GQA_NEURON_IO_F32,
     GQA_NEURON_EXACT,
     3,
     {{129, 64, 0, 5, 31}, {100, 64, 7, 27, 1}, {1, 0, 1, 0, 1}}},
    {"pages of 128, one entry",
     128,
     GQA_NEURON_IO_BF16,
     GQA_NEURON_EXACT,
     2,
     {{0, 0, 200, 0, 0}, {0, 0, 77, 0, 0}}},
    {"pages of 512",
     512,
     GQA_NEURON_IO_BF16,
     GQA_NEURON_EXACT,
     2,
     {{200, 250, 300, 130, 1}, {1, 2, 3, 150, 5}}},
    {"pages of 64, float32",
     64,
     GQA_NEURON_IO_BF16,
     GQA_NEURON_FLOAT32,
     3,
     {{150, 70, 100, 64, 17}, {30, 40, 3, 9, 60}, {1, 1, 1, 1, 1}}},
    {"pages of 256, float32",
     256,
     GQA_NEURON_IO_F32,
     GQA_NEURON_FLOAT32,
     2,
     {{300, 70, 260, 64, 17}, {2, 40, 3, 9, 60}}},
};

static void run_setting(const struct setting *setting, enum form form)
{
    const gqa_inputs plain = {0};

    bench_open(setting);
    assert_int_equal(bench_create(), GQA_OK);
    for (int c = 0; c < setting->calls; c++) {
        if (bench_run(setting->lengths[c], form, &plain) != GQA_OK) {
            fail_msg("%s, form %d: %s", setting->name, (int)form, bench.err.message);
        }
        assert_int_equal(bench.path.neuron_profile, GQA_NEURON_PAGED_SCHEDULE);
        assert_int_equal(bench.report.warning_count, setting->io == GQA_NEURON_IO_F32);
        compare_call(setting->lengths[c], form, c);
        for (int r = 0; r < ENTRIES; r++) {
            bench.past[r] += setting->lengths[c][r];
        }
    }
    bench_close();
}

static void as_the_kernel(void **state)
{
    const int n = (int)(sizeof settings / sizeof settings[0]);

    (void)state;
    for (int i = 0; i < fewer_cases(n * FORMS); i++) {
        run_setting(&settings[i % n], (enum form)(i / n));
    }
}

/* gqa_attend on the last tokens of the cache: the bits of the call that appended them. */
static void attend_as_forward(void **state)
{
    enum { NEW = 7 };
    const int prompt[ENTRIES] = {40, 3, 128, 17, 64}, lengths[ENTRIES] = {NEW, NEW, NEW, NEW, NEW};
    static float query[ENTRIES * NEW * Q], out[ENTRIES * NEW * Q];
    const gqa_inputs plain = {0};
    int32_t sequences[ENTRIES];
    gqa_attend_inputs in;
    gqa_attend_output output;

    (void)state;
    bench_open(&settings[0]);
    assert_int_equal(bench_create(), GQA_OK);
    assert_int_equal(bench_run(prompt, RIGHT_PADDED, &plain), GQA_OK);
    memcpy(bench.past, prompt, sizeof prompt);
    assert_int_equal(bench_run(lengths, RIGHT_PADDED, &plain), GQA_OK);
    for (int r = 0; r < ENTRIES; r++) {
        memcpy(query + r * NEW * Q, bench.q[r] + prompt[r] * Q, NEW * Q * sizeof *query);
        sequences[r] = ENTRIES - 1 - r;
    }
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&output);
    in.query = gqa_tensor_4d(query, GQA_F32, ENTRIES, NEW, HQ, D);
    in.sequences = sequences;
    output.output = gqa_tensor_4d(out, GQA_F32, ENTRIES, NEW, HQ, D);
    if (gqa_attend(bench.layer, bench.cache, &in, &output, NULL, 0, &bench.err) != GQA_OK) {
        fail_msg("%s", bench.err.message);
    }
    for (int r = 0; r < ENTRIES; r++) {
        assert_memory_equal(out + r * NEW * Q, bench.out[r], NEW * Q * sizeof *out);
    }
    bench_close();
}

static void threads_change_nothing(void **state)
{
    const gqa_inputs plain = {0};
    static float first[100 * Q];

    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        struct host host;
        bench_open(&settings[0]);
        bench.runtime = host_start(&host, threads);
        assert_int_equal(bench_create(), GQA_OK);
        assert_int_equal(bench_run(settings[0].lengths[0], RIGHT_PADDED, &plain), GQA_OK);
        if (threads == 1) {
            memcpy(first, bench.out[2], sizeof first);
        }
        assert_memory_equal(first, bench.out[2], sizeof first);
        bench_close();
        assert_int_equal(host.live, 0);
    }
}

/* --- what it leaves out, and what it refuses ---------------------------------------------------
 */

static int warned(gqa_neuron_warning_code code)
{
    int n = 0;

    for (int i = 0; i < bench.report.warning_count; i++) {
        n += bench.report.warnings[i].code == code;
    }
    return n;
}

static void silent_losses(void **state)
{
    const int lengths[ENTRIES] = {4, 4, 4, 4, 4};
    static uint8_t ones[ENTRIES * 4 * 4];
    gqa_inputs masked = {0};
    static float plain[4 * Q];

    (void)state;
    memset(ones, 1, sizeof ones);
    for (int i = 0; i < 2; i++) {
        const gqa_inputs none = {0};
        bench_open(&settings[0]);
        bench.config.learned_sinks_size = i;
        bench.config.sliding_window = i == 0 ? 0 : 2;
        masked.mask = gqa_tensor_4d(ones, GQA_U8, ENTRIES, 1, 4, 4);
        assert_int_equal(bench_create(), GQA_OK);
        assert_int_equal(bench_run(lengths, RIGHT_PADDED, i == 0 ? &none : &masked), GQA_OK);
        assert_int_equal(warned(GQA_NEURON_WARN_SINKS_DROPPED), i);
        assert_int_equal(warned(GQA_NEURON_WARN_WINDOW_IGNORED), i);
        assert_int_equal(warned(GQA_NEURON_WARN_MASK_IGNORED), i);
        assert_int_equal(bench.report.warning_count, 3 * i);
        if (i == 0) {
            memcpy(plain, bench.out[1], sizeof plain);
        }
        assert_memory_equal(plain, bench.out[1], sizeof plain);
        bench_close();
    }
}

static void both_ways(gqa_config *config)
{
    config->bidirectional = 1;
}

static void chunks(gqa_config *config)
{
    config->attention_chunk_size = 8;
}

static void newer(gqa_config *config)
{
    config->neuron_release = GQA_NEURON_2_29;
}

static void f32_divisor(gqa_config *config)
{
    config->neuron_divisor = GQA_NEURON_SQRT_D_F32;
}

static void a_scale(gqa_config *config)
{
    config->score_scale = 0.3f;
}

/* Refused before anything is appended, or when the layer is made. */
static void refusals(void **state)
{
    static const struct {
        void (*bend)(gqa_config *config);
        const char *field, *words;
        bool at_once, bounds;
    } cases[] = {
        {both_ways, "config.bidirectional", "is causal", false, false},
        {chunks, "config.attention_chunk_size", "ValueError", false, false},
        {newer, "call.release", "no chunked prefill", false, false},
        {f32_divisor, "call.divisor", "no such argument", false, false},
        {a_scale, "config.score_scale", "softmax_scale", true, false},
        {NULL, "inputs.key_begin", "no key bounds", false, true},
    };
    static const int32_t begin[MOST * ENTRIES], end[MOST * ENTRIES];
    const int lengths[ENTRIES] = {2, 0, 2, 2, 2};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gqa_inputs in = {0};
        gqa_status status;
        bench_open(&settings[0]);
        in.key_begin = cases[i].bounds ? begin : NULL;
        in.key_end = cases[i].bounds ? end : NULL;
        if (cases[i].bend != NULL) {
            cases[i].bend(&bench.config);
        }
        status = bench_create();
        assert_int_equal(status, cases[i].at_once ? GQA_ERR_UNSUPPORTED : GQA_OK);
        if (status == GQA_OK) {
            assert_int_not_equal(bench_run(lengths, RIGHT_PADDED, &in), GQA_OK);
            for (int s = 0; s < ENTRIES; s++) {
                assert_int_equal(gqa_cache_length(bench.cache, s), 0);
            }
        }
        if (strcmp(bench.err.field, cases[i].field) != 0 ||
            strstr(bench.err.message, cases[i].words) == NULL) {
            fail_msg("%s: %s", cases[i].field, bench.err.message);
        }
        bench_close();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_kernel),
        cmocka_unit_test(attend_as_forward),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(silent_losses),
        cmocka_unit_test(refusals),
    };
    return RUN_TESTS(argc, argv, tests);
}
