/* SPDX-License-Identifier: Apache-2.0 */
/* test_safetensors.c - damaged files: each kind gives exit status 2 and its message, and no random
 * damage crashes. */
#define _POSIX_C_SOURCE 200809L
#include "golden_run.h"
#include "support/command.h"
#include "support/program.h"
#include "support/random.h"

#define BLOCK   "s01_gptoss_small_window.safetensors" /* stage block: norm, biases, sinks, yarn */
#define ATTN    "s17_fully_masked_rows_sinks.safetensors" /* stage attn: bias, sinks */
#define LATE    "s11_glm_partial_interleaved.safetensors" /* its only main result is f64.out */
#define PADDED  "s13_padding_left_right.safetensors"
#define DAMAGED "test_safetensors_damaged.safetensors"

/* A whole file in memory, aligned for any element. */
struct bytes {
    unsigned char *data;
    size_t size;
};

static struct bytes read_bytes(const char *name)
{
    char path[512];
    struct bytes bytes;
    FILE *file;
    long size;

    snprintf(path, sizeof path, "%s/%s", GQA_GOLDEN_DIR, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    bytes.size = (size_t)size;
    bytes.data = malloc(bytes.size);
    assert_non_null(bytes.data);
    assert_int_equal(fread(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    return bytes;
}

static size_t header_size(const struct bytes *bytes)
{
    uint64_t n = 0;

    for (int i = 7; i >= 0; i--) {
        n = n << 8 | bytes->data[i];
    }
    return (size_t)n;
}

static void set_header_size(struct bytes *bytes, uint64_t n)
{
    for (int i = 0; i < 8; i++) {
        bytes->data[i] = (unsigned char)(n >> (8 * i));
    }
}

/* Replace the first `find` in the header; the header is padded again and the data kept. */
static void replace(struct bytes *bytes, const char *find, const char *put)
{
    size_t n = header_size(bytes), grown;
    char *header = calloc(1, n + strlen(put) + 128);
    char *at;
    unsigned char *data;

    assert_non_null(header);
    memcpy(header, bytes->data + 8, n);
    at = strstr(header, find);
    if (at == NULL) {
        fail_msg("the header has no %s", find);
    }
    memmove(at + strlen(put), at + strlen(find), strlen(at + strlen(find)) + 1);
    memcpy(at, put, strlen(put));
    grown = strlen(header);
    while (grown > 0 && header[grown - 1] == ' ') {
        grown--;
    }
    while ((8 + grown) % 64 != 0) {
        header[grown++] = ' ';
    }
    data = malloc(8 + grown + bytes->size - 8 - n);
    assert_non_null(data);
    memcpy(data + 8, header, grown);
    memcpy(data + 8 + grown, bytes->data + 8 + n, bytes->size - 8 - n);
    bytes->size = 8 + grown + bytes->size - 8 - n;
    free(bytes->data);
    free(header);
    bytes->data = data;
    set_header_size(bytes, grown);
}

/* --- damage to the frame and to data, which no text edit makes ----------------------------------
 */

static void cut_prefix(struct bytes *bytes)
{
    bytes->size = 5;
}

static void cut_all(struct bytes *bytes)
{
    bytes->size = 0;
}

static void cut_header(struct bytes *bytes)
{
    bytes->size = 1000;
}

static void cut_data(struct bytes *bytes)
{
    bytes->size -= 1;
}

static void more_data(struct bytes *bytes)
{
    bytes->data = realloc(bytes->data, bytes->size + 64);
    assert_non_null(bytes->data);
    memset(bytes->data + bytes->size, 0, 64);
    bytes->size += 64;
}

static void huge_header(struct bytes *bytes)
{
    set_header_size(bytes, UINT64_MAX);
}

static void no_header(struct bytes *bytes)
{
    set_header_size(bytes, 0);
}

static void odd_header(struct bytes *bytes)
{
    set_header_size(bytes, header_size(bytes) - 4);
}

static void control_byte(struct bytes *bytes)
{
    bytes->data[8 + 20] = 0x07;
}

static void not_ascii(struct bytes *bytes)
{
    bytes->data[8 + 40] = 0xc3;
}

static void zero_byte(struct bytes *bytes)
{
    bytes->data[8 + header_size(bytes) - 1] = 0;
}

static void cut_json(struct bytes *bytes)
{
    memset(bytes->data + 8 + 600, ' ', header_size(bytes) - 600);
}

static void array_header(struct bytes *bytes)
{
    memset(bytes->data + 8, ' ', header_size(bytes));
    bytes->data[8] = '[';
    bytes->data[9] = ']';
}

static void bad_flag(struct bytes *bytes)
{
    bytes->data[bytes->size - 1] = 2; /* row_valid comes last */
}

static const struct damage {
    const char *name;
    const char *file;
    void (*spoil)(struct bytes *bytes); /* or NULL */
    const char *find, *put;             /* of the header, or NULL */
    const char *message;                /* part of what the command must say */
} damages[] = {
    {"cut prefix", BLOCK, cut_prefix, NULL, NULL, "truncated: 5 bytes"},
    {"empty", BLOCK, cut_all, NULL, NULL, "truncated: the file is empty"},
    {"cut header", BLOCK, cut_header, NULL, NULL, "truncated header: its length is 4152"},
    {"cut data", BLOCK, cut_data, NULL, NULL, "tensor row_valid ends at byte"},
    {"more data", BLOCK, more_data, NULL, NULL, "64 bytes after the last tensor belong to none"},
    {"huge header", BLOCK, huge_header, NULL, NULL, "exceeds the limit of 100000000"},
    {"no header", BLOCK, no_header, NULL, NULL, "too small for a JSON object"},
    {"odd header", BLOCK, odd_header, NULL, NULL, "no multiple of 8"},
    {"control byte", BLOCK, control_byte, NULL, NULL,
     "line 1, column 21: byte 0x07 is not ASCII text"},
    {"not ASCII", BLOCK, not_ascii, NULL, NULL, "line 1, column 41: byte 0xc3 is not ASCII text"},
    {"zero byte", BLOCK, zero_byte, NULL, NULL, "byte 0x00 is not ASCII text"},
    {"cut JSON", BLOCK, cut_json, NULL, NULL, "header, line 1, column"},
    {"array header", BLOCK, array_header, NULL, NULL, "the header is JSON, but no object"},
    {"flag 2", BLOCK, bad_flag, NULL, NULL, "tensor row_valid holds 2 at element 32"},
    {"JSON on line 2", BLOCK, NULL, "\"stage\":\"block\",", "\n\"stage\":\"block\",,",
     "header, line 2, column 17"},
    {"escape", BLOCK, NULL, "gpt-oss", "gpt\\u00e9", "a backslash escape"},
    {"twice", BLOCK, NULL, "\"bq\":", "\"bk\":", "duplicate object key"},
    {"metadata is a list", BLOCK, NULL, "{\"__metadata__\":{", "{\"__metadata__\":[],\"x.y\":{",
     "__metadata__ is no object"},
    {"metadata is a number", BLOCK, NULL, "\"tokens\":\"33\"", "\"tokens\":33",
     "__metadata__.tokens is no string"},
    {"no metadata", BLOCK, NULL, "{\"__metadata__\":{", "{\"metadata\":{",
     "tensor metadata has no"},
    {"tensor is a string", BLOCK, NULL, "\"bq\":{", "\"extra\":\"x\",\"bq\":{",
     "tensor extra is no object"},
    {"tensor without dtype", BLOCK, NULL, "\"bq\":{\"dtype\":\"F32\",", "\"bq\":{",
     "tensor bq has no dtype"},
    {"tensor with more", BLOCK, NULL, "\"bq\":{", "\"bq\":{\"scale\":1,",
     "tensor bq has an unknown field scale"},
    {"unknown dtype", BLOCK, NULL, "\"bq\":{\"dtype\":\"F32\"", "\"bq\":{\"dtype\":\"F16\"",
     "tensor bq: dtype F16"},
    {"dtype is a number", BLOCK, NULL, "\"bq\":{\"dtype\":\"F32\"", "\"bq\":{\"dtype\":32",
     "tensor bq: dtype is no string"},
    {"negative shape", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[-128,96]",
     "tensor wq: shape[0] is no integer from 0 on"},
    {"fractional shape", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[128,96.5]",
     "tensor wq: shape[1] is no integer from 0 on"},
    {"shape overflow", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[4294967296,4294967296]",
     "more than 2^60 elements"},
    {"too many dimensions", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[1,1,1,1,1,1,1,128,96]",
     "at most 8 numbers"},
    {"shape is a number", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":12288",
     "must be an array of at most 8 numbers"},
    {"integer too big", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[99999999999999999999,96]",
     "too big integer"},
    {"bytes differ from shape", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[128,95]",
     "takes 48640 bytes, but data_offsets name 49152"},
    {"offsets fall", BLOCK, NULL, "\"data_offsets\":[64,192]", "\"data_offsets\":[192,64]",
     "tensor bk: data_offsets [192, 64] fall"},
    {"offsets overlap", BLOCK, NULL, "\"data_offsets\":[64,192]", "\"data_offsets\":[60,188]",
     "tensors inv_freq and bk overlap at byte 60"},
    {"a tensor twice in the data", BLOCK, NULL, "\"data_offsets\":[576,1088]",
     "\"data_offsets\":[192,704]", "overlap at byte 192"},
    {"hole", BLOCK, NULL, "\"bk\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[64,192]}",
     "\"bk\":{\"dtype\":\"F32\",\"shape\":[31],\"data_offsets\":[68,192]}",
     "bytes 64 to 68 of the data, before tensor bk, belong to no tensor"},
    {"not aligned", BLOCK, NULL, "\"data_offsets\":[64,192]", "\"data_offsets\":[62,190]",
     "no multiple of its 4-byte elements"},
    {"offset beyond the file", BLOCK, NULL, "\"data_offsets\":[64,192]",
     "\"data_offsets\":[9000000000000000000,9000000000000000128]", "tensor bk ends at byte"},
    {"negative offset", BLOCK, NULL, "\"data_offsets\":[64,192]", "\"data_offsets\":[-64,64]",
     "must be two integers from 0 on"},
    {"three offsets", BLOCK, NULL, "\"data_offsets\":[64,192]", "\"data_offsets\":[64,128,192]",
     "must be two integers from 0 on"},
    {"missing tensor", BLOCK, NULL, "\"bk\":{", "\"extra\":{", "bk is missing"},
    {"unknown expected tensor", BLOCK, NULL, "\"f64.q_proj\":{", "\"f64.p_proj\":{",
     "unknown tensor f64.p_proj"},
    {"unknown tensor", BLOCK, NULL, "\"bk\":{",
     "\"mask\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"bk\":{",
     "unknown tensor mask"},
    {"main result missing", LATE, NULL, "\"f64.out\":{", "\"f64.x_norm\":{",
     "missing at the least: ref.out (or f64.out)"},
    {"weight of another dtype", BLOCK, NULL, "\"wk\":{\"dtype\":\"F32\"",
     "\"wk\":{\"dtype\":\"I32\"", "tensor wk is I32; it must be F32 or BF16"},
    {"positions of another dtype", BLOCK, NULL, "\"q_pos\":{\"dtype\":\"I32\"",
     "\"q_pos\":{\"dtype\":\"F32\"", "tensor q_pos is F32; it must be I32"},
    {"weight of another shape", BLOCK, NULL, "\"shape\":[128,96]", "\"shape\":[96,128]",
     "tensor wq is [96, 128]; it must be [128, 96]"},
    {"sinks unasked", ATTN, NULL, "\"sinks\":\"1\"", "\"sinks\":\"0\"",
     "tensor sinks is there, but metadata sinks asks for none"},
    {"biases unasked", BLOCK, NULL, "\"qkv_bias\":\"1\"", "\"qkv_bias\":\"0\"",
     "tensor bq is there, but metadata qkv_bias asks for none"},
    {"norm of another kind", BLOCK, NULL, "\"qk_norm\":\"none\"", "\"qk_norm\":\"head_rms\"",
     "tensor q_norm.weight is missing, but metadata qk_norm asks for it"},
    {"past without tensors", BLOCK, NULL, "\"past\":\"0\"", "\"past\":\"3\"",
     "tensor k_pos is [1, 33]; it must be [1, 36]"},
    {"unknown key", BLOCK, NULL, "\"window\":\"5\"", "\"window\":\"5\",\"windows\":\"5\"",
     "unknown metadata key windows"},
    {"missing key", BLOCK, NULL, "\"rope_factor\":\"32.0\",", "",
     "metadata key rope_factor is missing"},
    {"words for a number", BLOCK, NULL, "\"window\":\"5\"", "\"window\":\"five\"",
     "metadata window is \"five\"; it must be an integer from 0"},
    {"number out of range", BLOCK, NULL, "\"tokens\":\"33\"", "\"tokens\":\"99999999999\"",
     "metadata tokens is \"99999999999\""},
    {"absurd size", BLOCK, NULL, "\"tokens\":\"33\"", "\"tokens\":\"16777216\"",
     "it must be [1, 16777216"},
    {"absurd heads", BLOCK, NULL, "\"n_q_heads\":\"8\"", "\"n_q_heads\":\"16777216\"",
     "tensor wq is [128, 96]; it must be [268435456, 96]"},
    {"infinite number", BLOCK, NULL, "\"scale\":\"0.25\"", "\"scale\":\"inf\"",
     "metadata scale is \"inf\"; it must be a finite decimal number"},
    {"number overflow", BLOCK, NULL, "\"scale\":\"0.25\"", "\"scale\":\"1e999\"",
     "metadata scale is \"1e999\""},
    {"zero scale", BLOCK, NULL, "\"scale\":\"0.25\"", "\"scale\":\"0.0\"", "metadata scale is 0"},
    {"switch of 2", BLOCK, NULL, "\"causal\":\"1\"", "\"causal\":\"2\"",
     "metadata causal is \"2\"; known: 0, 1"},
    {"unknown stage", BLOCK, NULL, "\"stage\":\"block\"", "\"stage\":\"mlp\"",
     "metadata stage is \"mlp\"; known: attn, block"},
    {"unknown scaling", BLOCK, NULL, "\"rope_scaling\":\"yarn\"", "\"rope_scaling\":\"ntk\"",
     "metadata rope_scaling is \"ntk\"; known: none, linear, llama3, yarn"},
    {"odd rope_dim", BLOCK, NULL, "\"rope_dim\":\"16\"", "\"rope_dim\":\"15\"",
     "rope_dim is 15; it must be even"},
    {"rope_dim beyond the head", BLOCK, NULL, "\"rope_dim\":\"16\"", "\"rope_dim\":\"18\"",
     "tensor inv_freq is [8]; it must be [9]"},
    {"mscale without yarn", ATTN, NULL, "\"rope_mscale\":\"1.0\"", "\"rope_mscale\":\"1.5\"",
     "rope_mscale is 1.5; without yarn it must be 1"},
    {"sections without mrope", BLOCK, NULL, "\"mrope_sections\":\"\"",
     "\"mrope_sections\":\"2,3,3\"", "it must be empty"},
    {"mrope without sections", BLOCK, NULL, "\"mrope_layout\":\"none\"",
     "\"mrope_layout\":\"sections\"", "it must hold three integers"},
    {"feed too short", BLOCK, NULL, "|10,23|", "|10,22|",
     "feed_schedule alternative \"10,22\" is not a list of call sizes that add up to 33"},
    {"feed of nothing", BLOCK, NULL, "|10,23|", "||", "feed_schedule alternative \"\""},
    {"feed with a zero", BLOCK, NULL, "|10,23|", "|10,0,23|", "\"10,0,23\" is not a list"},
    {"feed of words", BLOCK, NULL, "|10,23|", "|ten,23|", "\"ten,23\" is not a list"},
    {"negative tolerance", BLOCK, NULL, "\"tol_q\":\"2.3e-05\"", "\"tol_q\":\"-1\"",
     "a tolerance is not negative"},
    {"projections in stage attn", ATTN, NULL, "\"residual\":\"0\"", "\"residual\":\"1\"",
     "stage attn starts after the projections"},
    {"hidden in stage attn", ATTN, NULL, "\"hidden\":\"0\"", "\"hidden\":\"8\"",
     "metadata hidden is \"8\"; it must be an integer from 0 to 0"},
    {"bias of another shape", ATTN, NULL, "\"shape\":[2,1,9,9]", "\"shape\":[1,2,9,9]",
     "tensor attn_bias is [1, 2, 9, 9]; it must be [1, 4, 9, 9]"},
    {"valid_end beyond the keys", PADDED, NULL, "\"valid_end\":{\"dtype\":\"I32\"",
     "\"valid_end\":{\"dtype\":\"F32\"", "tensor valid_end is F32; it must be I32"},
    {"heads that do not divide", ATTN, NULL, "\"n_kv_heads\":\"2\"", "\"n_kv_heads\":\"3\"",
     "tensor k_proj is [2, 9, 2, 32]; it must be [2, 9, 3, 32]"},
    {"refused by the library", BLOCK, NULL, "\"rope_theta\":\"150000.0\"",
     "\"rope_theta\":\"-1.0\"", "gqa_create: config.rope_theta"},
};

#define DAMAGES (sizeof damages / sizeof damages[0])

/* --- running the command ------------------------------------------------------------------------
 */

/* Returns the exit status (128 + signal after a crash); text receives what the shell's redirection
 * leaves on stdout. */
/* text receives stderr. */
static int run_tool(const char *words, char *text, size_t room)
{
    return run_command(GQA_TOOL_PATH, words, "2>&1 >/dev/null", text, room);
}

static void write_bytes(const struct bytes *bytes)
{
    FILE *file = fopen(DAMAGED, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    fclose(file);
}

static void test_damage(void **argument)
{
    const struct damage *damage = *argument;
    struct bytes bytes = read_bytes(damage->file);
    char text[1024];
    int status;

    if (damage->find != NULL) {
        replace(&bytes, damage->find, damage->put);
    }
    if (damage->spoil != NULL) {
        damage->spoil(&bytes);
    }
    write_bytes(&bytes);
    status = run_tool("run " DAMAGED, text, sizeof text);
    if (status != 2 || strstr(text, damage->message) == NULL ||
        strstr(text, "gqa: " DAMAGED ": ") != text) {
        fail_msg("%s: exit status %d, \"%s\"; expected 2, \"%s\"", damage->name, status, text,
                 damage->message);
    }
    remove(DAMAGED);
    free(bytes.data);
}

/* A good file beside a bad one is run, and the exit status is still 2. */
static void test_good_beside_bad(void **argument)
{
    char words[600], text[1024];

    (void)argument;
    snprintf(words, sizeof words, "run missing.safetensors '%s/%s'", GQA_GOLDEN_DIR, ATTN);
    assert_int_equal(run_tool(words, text, sizeof text), 2);
}

/* --- random damage ------------------------------------------------------------------------------
 */

/* 1 to 6 bytes of the header become other bytes, half of them characters that JSON uses. */
static void mutate_bytes(unsigned char *data, size_t header, uint64_t *seed)
{
    static const char used[] = "0123456789.,:{}[]\"-eEFI";
    int changes = 1 + (int)(random_next(seed) % 6);

    for (int i = 0; i < changes; i++) {
        size_t at = (size_t)(random_next(seed) % (header + 8));
        uint64_t byte = random_next(seed);

        data[at] = byte & 256 ? (unsigned char)used[byte % (sizeof used - 1)]
                              : (unsigned char)(byte & 255);
    }
}

/* A digit of the metadata becomes another one: the JSON stays good, the numbers do not. */
static void mutate_digit(unsigned char *data, size_t header, uint64_t *seed)
{
    size_t end = 8;
    size_t at;

    while (end < header && data[end] != '}') { /* of __metadata__ */
        end++;
    }
    do {
        at = 8 + (size_t)(random_next(seed) % (end - 8));
    } while (data[at] < '0' || data[at] > '9');
    data[at] = (unsigned char)('0' + random_next(seed) % 10);
}

/* Whatever still loads is run too. Returns whether it loaded. */
static bool load_and_run(const unsigned char *data, size_t size)
{
    struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    struct tool_fault fault = {.text = ""};
    struct tool_file file;
    struct tool_case c;
    bool loaded = false;

    if (tool_file_parse(&file, "mutated", data, size, &fault)) {
        loaded = tool_case_load(&c, &file, &fault);
        if (loaded) {
            struct tool_session session;
            struct tool_values values;
            struct tool_report report;

            if (tool_session_open(&session, &c, &options, &fault)) {
                if (tool_session_run(&session, &c.schedules[0], true, &values, &fault)) {
                    tool_compare(&c, &options, &values, &report);
                }
                tool_values_free(&values);
                tool_session_close(&session);
            }
            tool_case_free(&c);
        }
        tool_file_close(&file);
    }
    assert_true(loaded || fault.text[0] != '\0');
    return loaded;
}

static void test_random_bytes(void **argument)
{
    static const char *const files[] = {ATTN, PADDED};
    uint64_t seed = 88172645463325252U;
    int loaded = 0;

    (void)argument;
    for (int f = 0; f < 2; f++) {
        struct bytes bytes = read_bytes(files[f]);
        size_t header = header_size(&bytes);
        unsigned char *copy = malloc(bytes.size);

        assert_non_null(copy);
        for (int i = 0; i < 1500; i++) {
            memcpy(copy, bytes.data, bytes.size);
            if (i % 3 == 0) {
                mutate_digit(copy, header, &seed);
            } else {
                mutate_bytes(copy, header, &seed);
            }
            loaded += load_and_run(copy, bytes.size);
        }
        free(copy);
        free(bytes.data);
    }
    /* Bytes inside information (notes, features) change nothing; most others are refused. */
    print_message("3000 mutations, %d still load\n", loaded);
    assert_in_range(loaded, 200, 1500);
}

/* Every length that cuts the file, in the header and a few beyond. */
static void test_every_cut(void **argument)
{
    struct bytes bytes = read_bytes(ATTN);
    size_t header = header_size(&bytes);

    (void)argument;
    for (size_t size = 0; size < bytes.size; size += size < header + 8 ? 7 : 997) {
        unsigned char *copy = malloc(size + 1); /* so that a checker sees a read beyond */

        assert_non_null(copy);
        memcpy(copy, bytes.data, size);
        assert_false(load_and_run(copy, size));
        free(copy);
    }
    free(bytes.data);
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[DAMAGES + 3];
    size_t n = 0;

    for (; n < DAMAGES; n++) {
        tests[n] = (struct CMUnitTest){damages[n].name, test_damage, NULL, NULL,
                                       (void *)(uintptr_t)&damages[n]};
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_good_beside_bad);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_random_bytes);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_cut);
    return run_test_program(argc, argv, tests, n, NULL, NULL);
}
