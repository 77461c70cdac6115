/* SPDX-License-Identifier: Apache-2.0 */
/* test_semantics.c - docs/semantics.md is true: every row of its table is a call on both backends.
 *
 * The layer is attention only. Queries and keys are zero, so all visible keys weigh the same, and
 * the value of key j is the unit vector j: element j of the output is 1 / (n + e^sink) if the row
 * sees key j, one of n, and exactly 0 if not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { KEYS = 16, HQ = 2, D = 8, DV = KEYS, CELL = 160 };

/* One row of the table. */
struct vector {
    char id[CELL], config[CELL], call[CELL], keys[CELL];
};

/* A call, with the memory behind its inputs. */
struct call {
    gqa_config config;
    gqa_weights weights;
    float sinks[HQ], sink;
    int32_t past, tokens, nan_key;
    int32_t first_valid, lengths, columns;
    int32_t position_ids[KEYS], key_begin[KEYS], key_end[KEYS];
    uint8_t mask[KEYS * KEYS], active_mask[KEYS * KEYS];
    gqa_inputs inputs;
    float q[KEYS * HQ * D], k[KEYS * D], v[KEYS * DV];
    float out[KEYS * HQ * DV], lse[KEYS * HQ];
};

static int32_t *config_field(gqa_config *c, const char *name)
{
    const struct {
        const char *name;
        int32_t *field;
    } fields[] = {{"bidirectional", &c->bidirectional},
                  {"sliding_window", &c->sliding_window},
                  {"right_window", &c->right_window},
                  {"attention_chunk_size", &c->attention_chunk_size},
                  {"learned_sinks_size", &c->learned_sinks_size}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return fields[i].field;
        }
    }
    fail_msg("unknown config field %s", name);
    return NULL;
}

static void read_list(const char *text, int32_t *list, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        list[i] = (int32_t)strtol(text, NULL, 10);
        text += strcspn(text, ",") + 1;
    }
}

/* "110,101" to bytes; returns the columns. */
static int32_t read_bits(const char *text, uint8_t *bits)
{
    const int32_t columns = (int32_t)strcspn(text, ",");
    for (; *text != '\0'; text++) {
        if (*text != ',') {
            *bits++ = *text == '1';
        }
    }
    return columns;
}

static void set_config(struct call *call, const char *name, const char *value)
{
    if (strcmp(name, "sink") == 0) {
        call->sink = strtof(value, NULL);
        call->sinks[0] = call->sinks[1] = call->sink;
        call->weights.sinks = gqa_tensor_1d(call->sinks, GQA_F32, HQ);
    } else {
        *config_field(&call->config, name) = (int32_t)strtol(value, NULL, 10);
    }
}

static void set_call(struct call *call, const char *name, const char *value)
{
    gqa_inputs *const in = &call->inputs;
    const int32_t number = (int32_t)strtol(value, NULL, 10);
    if (strcmp(name, "past") == 0) {
        call->past = number;
    } else if (strcmp(name, "tokens") == 0) {
        call->tokens = number;
    } else if (strcmp(name, "nan_key") == 0) {
        call->nan_key = number;
    } else if (strcmp(name, "first_valid") == 0) {
        call->first_valid = number;
        in->first_valid = &call->first_valid;
    } else if (strcmp(name, "lengths") == 0) {
        call->lengths = number;
        in->lengths = &call->lengths;
    } else if (strcmp(name, "position_ids") == 0) {
        read_list(value, call->position_ids, call->tokens);
        in->position_ids = call->position_ids;
    } else if (strcmp(name, "key_begin") == 0) {
        read_list(value, call->key_begin, call->tokens);
        in->key_begin = call->key_begin;
    } else if (strcmp(name, "key_end") == 0) {
        read_list(value, call->key_end, call->tokens);
        in->key_end = call->key_end;
    } else if (strcmp(name, "mask") == 0) {
        const int32_t columns = read_bits(value, call->mask);
        in->mask = gqa_tensor_4d(call->mask, GQA_U8, 1, 1, call->tokens, columns);
    } else if (strcmp(name, "active_mask") == 0) {
        const int32_t columns = read_bits(value, call->active_mask);
        in->active_mask = gqa_tensor_3d(call->active_mask, GQA_U8, 1, call->tokens, columns);
    } else {
        fail_msg("unknown word %s", name);
    }
}

/* "a=1 b=2,3" */
static void read_words(struct call *call, const char *text,
                       void (*set)(struct call *call, const char *name, const char *value))
{
    char copy[CELL];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        char *const value = strchr(word, '=');
        assert_non_null(value);
        *value = '\0';
        set(call, word, value + 1);
    }
}

static void prepare(struct call *call, const struct vector *vector, gqa_backend backend)
{
    memset(call, 0, sizeof *call);
    call->config = attention_config(HQ, 1, D, DV);
    gqa_weights_init(&call->weights);
    gqa_inputs_init(&call->inputs);
    call->config.backend = backend;
    call->sink = -INFINITY;
    call->nan_key = -1;
    read_words(call, vector->config, set_config);
    read_words(call, vector->call, set_call);
}

/* Feed n tokens whose first valid one is key `first` of the sequence. */
static void feed(struct call *call, const gqa_layer *layer, gqa_cache *cache, gqa_inputs *in,
                 int32_t n, int32_t first)
{
    gqa_output output;
    gqa_error err;
    memset(call->v, 0, sizeof call->v);
    for (int32_t t = 0; t < n; t++) {
        const int32_t key = first + t - (in->first_valid != NULL ? *in->first_valid : 0);
        if (key >= 0 && key < KEYS) {
            call->v[t * DV + key] = 1.0f;
        }
        for (int32_t d = 0; d < D; d++) {
            call->k[t * D + d] = key >= 0 && key == call->nan_key ? NAN : 0.0f;
        }
        if (key >= 0 && key == call->nan_key) {
            call->v[t * DV + 3] = NAN;
        }
    }
    in->q_proj = gqa_tensor_4d(call->q, GQA_F32, 1, n, HQ, D);
    in->k_proj = gqa_tensor_4d(call->k, GQA_F32, 1, n, 1, D);
    in->v_proj = gqa_tensor_4d(call->v, GQA_F32, 1, n, 1, DV);
    gqa_output_init(&output);
    output.attn = gqa_tensor_4d(call->out, GQA_F32, 1, n, HQ, DV);
    output.lse = gqa_tensor_3d(call->lse, GQA_F32, 1, n, HQ);
    if (gqa_forward(layer, cache, in, &output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

/* "0-2,4" to flags; returns how many. */
static int32_t read_keys(const char *text, int32_t length, uint8_t *sees)
{
    int32_t n = 0;
    memset(sees, 0, KEYS);
    if (length == 1 && text[0] == '-') {
        return 0;
    }
    for (const char *p = text; p < text + length; p += strcspn(p, ",") + 1) {
        char *end;
        const long from = strtol(p, &end, 10);
        const long to = *end == '-' ? strtol(end + 1, NULL, 10) : from;
        assert_true(from >= 0 && from <= to && to < KEYS);
        for (long key = from; key <= to; key++, n++) {
            sees[key] = 1;
        }
    }
    return n;
}

/* One (token, head) row. sees NULL: padding. */
static void check_row(const struct call *call, int32_t row, const uint8_t *sees, int32_t n)
{
    const float *const out = call->out + row * DV; /* [DV] */
    const float lse = call->lse[row];
    const int is_nan = sees != NULL && call->nan_key >= 0 && sees[call->nan_key];
    const double sum = (double)n + exp((double)call->sink);
    for (int32_t j = 0; j < DV; j++) {
        if (is_nan) {
            assert_true(isnan(out[j]));
        } else if (sees == NULL || !sees[j]) {
            assert_true(out[j] == 0.0f && !signbit(out[j]));
        } else {
            /* One exp2, one merge and one division: a few roundings of 6e-8, 1e-6 with room. */
            assert_true(fabs((double)out[j] * sum - 1.0) < 1e-6);
        }
    }
    if (sees == NULL || is_nan) {
        return;
    }
    if (sum == 0.0) {
        assert_true(isinf(lse) && lse < 0.0f);
    } else {
        assert_true(fabs((double)lse - log(sum)) < 1e-6 * (1.0 + fabs(log(sum))));
    }
}

static void check_rows(const struct call *call, const char *keys)
{
    const char *p = keys;
    for (int32_t t = 0; t < call->tokens; t++) {
        uint8_t sees[KEYS];
        assert_true(*p != '\0');
        const int32_t length = (int32_t)strcspn(p, " ");
        const int pad = strncmp(p, "pad", 3) == 0;
        const int32_t n = pad ? 0 : read_keys(p, length, sees);
        for (int32_t h = 0; h < HQ; h++) {
            check_row(call, t * HQ + h, pad ? NULL : sees, n);
        }
        p += length;
        p += strspn(p, " /");
    }
    assert_true(*p == '\0');
}

static void run(const struct vector *vector, gqa_backend backend)
{
    static struct call call;
    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_inputs past;
    gqa_error err;
    print_message("%s: %s; %s: %s\n", vector->id, vector->config, vector->call, vector->keys);
    prepare(&call, vector, backend);
    skip_refused(&call.config);
    if (gqa_create(&layer, &call.config, &call.weights, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    gqa_cache_options_init(&options, layer);
    options.max_tokens = KEYS;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, &err), GQA_OK);
    gqa_inputs_init(&past);
    if (call.past > 0) {
        feed(&call, layer, cache, &past, call.past, 0);
    }
    feed(&call, layer, cache, &call.inputs, call.tokens, call.past);
    check_rows(&call, vector->keys);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
}

/* The next cell of a table line, without blanks around it; NULL at the end. */
static const char *next_cell(const char *p, char *out)
{
    p += strspn(p, "| ");
    const size_t n = strcspn(p, "|\n");
    size_t end = n;
    while (end > 0 && p[end - 1] == ' ') {
        end--;
    }
    assert_true(end < CELL);
    memcpy(out, p, end);
    out[end] = '\0';
    return p[n] == '|' ? p + n : NULL;
}

/* Cells of "| a | b | c | d |"; an empty cell is "|  |". */
static int read_vector(const char *line, struct vector *vector)
{
    char *const cells[] = {vector->id, vector->config, vector->call, vector->keys};
    const char *p = line;
    for (int i = 0; i < 4; i++) {
        if (p == NULL || *p != '|') {
            return 0;
        }
        if (strncmp(p, "| |", 3) == 0) {
            cells[i][0] = '\0';
            p += 2;
        } else {
            p = next_cell(p, cells[i]);
        }
    }
    return vector->id[0] != '-' && strcmp(vector->id, "id") != 0;
}

static void vectors(void **state)
{
    const gqa_backend backend = *(const gqa_backend *)*state;
    struct vector vector;
    char line[512];
    int rows = 0;
    FILE *const page = fopen(GQA_SOURCE_DIR "/docs/semantics.md", "r");
    assert_non_null(page);
    while (fgets(line, sizeof line, page) != NULL) {
        if (read_vector(line, &vector)) {
            run(&vector, backend);
            rows++;
        }
    }
    fclose(page);
    assert_true(rows >= 30);
}

int main(int argc, char **argv)
{
    static gqa_backend cpu = GQA_BACKEND_CPU, reference = GQA_BACKEND_REFERENCE;
    const struct CMUnitTest tests[] = {{"backend cpu", vectors, NULL, NULL, &cpu},
                                       {"backend reference", vectors, NULL, NULL, &reference}};
    return RUN_TESTS(argc, argv, tests);
}
