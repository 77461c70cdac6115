/* SPDX-License-Identifier: Apache-2.0 */
/* Continuous batching: requests arrive, are prefilled in pieces, decode, speculate and finish, all
 * of them in one flat call for each layer and step.
 *
 * The model is a toy of two layers, one with full attention and one with a window, as in gpt-oss,
 * whose cache is a ring; a gqa_model_cache has both.
 * Its random weights make it say things that repeat, which gives the speculation something to
 * guess. Every request shares the system prompt: its tokens are computed once, and each request is
 * a fork of their sequence. What a request is likely to say next is looked up in what it has said;
 * guesses are appended with the token they follow, and what was wrong is taken back.
 *
 * The table has a line for each step: p9 = nine tokens of the prompt, +1 = a token, +4 = a token
 * and three guesses that were right. At the end every request runs once more, alone, without forks,
 * pieces and guesses: the same tokens, from hidden states with the same bits. */
#include <gqa/gqa.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 64, HQ = 4, HKV = 2, D = 16, ROWS = (HQ + 2 * HKV) * D, WINDOW = 24, VOCAB = 89 };
enum { LAYERS = 2, REQUESTS = 6, SYSTEM = 45, CONTEXT = 256 };
enum { PIECE = 16, GUESSES = 3, BUDGET = 40 }; /* tokens of a request, of a call */

static float embedding[VOCAB * HIDDEN], unembedding[VOCAB * HIDDEN];
static float norm[LAYERS][HIDDEN], wqkv[LAYERS][ROWS * HIDDEN], wo[LAYERS][HIDDEN * HQ * D];
static int32_t system_prompt[SYSTEM];

struct model {
    gqa_layer *layer[LAYERS];
    gqa_model_cache *caches; /* the layer with the window has a ring */
    gqa_error err;
};

struct request {
    int arrives, prompt, wanted; /* step; tokens, the system prompt's included; to be generated */
    int32_t token[CONTEXT];
    int known, held;             /* tokens that are known; of them in the cache */
    float said[CONTEXT][HIDDEN]; /* the hidden state that each token was chosen from */
    bool running, done;
};

static void fill(float *a, int n, float scale)
{
    static unsigned state = 7;
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        a[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
}

/* --- the model -------------------------------------------------------------------------------- */

static gqa_status open_layer(struct model *m, int i)
{
    gqa_config config;
    gqa_weights weights;

    gqa_config_init(&config);
    config.hidden_size = HIDDEN;
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    config.input_norm = GQA_NORM_RMS;
    config.qkv_layout = GQA_QKV_FUSED;
    config.rope = GQA_ROPE_HALF;
    config.sliding_window = i == 0 ? 0 : WINDOW;
    config.add_residual = 1;
    gqa_weights_init(&weights);
    weights.input_norm = gqa_tensor_1d(norm[i], GQA_F32, HIDDEN);
    weights.wqkv = gqa_tensor_2d(wqkv[i], GQA_F32, ROWS, HIDDEN);
    weights.wo = gqa_tensor_2d(wo[i], GQA_F32, HIDDEN, HQ * D);
    return gqa_create(&m->layer[i], &config, &weights, NULL, &m->err);
}

static gqa_status open_model(struct model *m, int sequences)
{
    gqa_model_cache_options options;
    gqa_cache_options cache[LAYERS];
    const gqa_cache_options *each[LAYERS];
    const gqa_layer *layers[LAYERS];
    gqa_status status = GQA_OK;

    memset(m, 0, sizeof *m);
    for (int i = 0; i < LAYERS && status == GQA_OK; i++) {
        status = open_layer(m, i);
        layers[i] = m->layer[i];
        each[i] = &cache[i];
        gqa_cache_options_init(&cache[i], m->layer[i]);
        gqa_cache_options_retain(&cache[i], m->layer[i]);
        cache[i].page_size = 16;
    }
    if (status != GQA_OK) {
        return status;
    }
    gqa_model_cache_options_init(&options);
    options.num_layers = LAYERS;
    options.layers = layers;
    options.caches = each;
    options.max_sequences = sequences;
    options.max_tokens = CONTEXT;
    options.call_tokens = CONTEXT;
    return gqa_model_cache_create(&m->caches, &options, &m->err);
}

static void close_model(struct model *m)
{
    gqa_model_cache_destroy(&m->caches);
    for (int i = 0; i < LAYERS; i++) {
        gqa_destroy(&m->layer[i]);
    }
}

/* A flat call: the tokens of some sequences, one after the other. */
struct call {
    int32_t token[BUDGET + CONTEXT], begin[REQUESTS + 2], sequence[REQUESTS + 1];
    int32_t batch, tokens;
    float hidden[BUDGET + CONTEXT][HIDDEN];
};

static void add_tokens(struct call *call, int32_t sequence, const int32_t *token, int n)
{
    memcpy(call->token + call->tokens, token, (size_t)n * sizeof *token);
    call->sequence[call->batch++] = sequence;
    call->tokens += n;
    call->begin[call->batch] = call->tokens;
}

static gqa_status run_call(struct model *m, struct call *call)
{
    gqa_status status = GQA_OK;

    for (int32_t t = 0; t < call->tokens; t++) {
        memcpy(call->hidden[t], embedding + call->token[t] * HIDDEN, sizeof call->hidden[t]);
    }
    for (int i = 0; i < LAYERS && status == GQA_OK; i++) {
        gqa_inputs inputs;
        gqa_output output;
        gqa_inputs_init(&inputs);
        gqa_output_init(&output);
        inputs.hidden_states = gqa_tensor_2d(call->hidden, GQA_F32, call->tokens, HIDDEN);
        inputs.row_begin = call->begin;
        inputs.batch = call->batch;
        inputs.sequences = call->sequence;
        output.hidden_states = inputs.hidden_states; /* row on row */
        status = gqa_forward(m->layer[i], gqa_model_cache_layer(m->caches, i), &inputs, &output,
                             NULL, 0, &m->err);
    }
    return status;
}

static int32_t choose(const float *hidden)
{
    int32_t best = 0;
    float most = -1e30f;

    for (int32_t v = 0; v < VOCAB; v++) {
        float sum = 0.0f;
        for (int i = 0; i < HIDDEN; i++) {
            sum += hidden[i] * unembedding[v * HIDDEN + i];
        }
        if (sum > most) {
            most = sum;
            best = v;
        }
    }
    return best;
}

/* --- requests --------------------------------------------------------------------------------- */

static void make_request(struct request *r, int i)
{
    float numbers[CONTEXT];

    memset(r, 0, sizeof *r);
    r->arrives = 2 * i;
    r->prompt = SYSTEM + 9 + 7 * i % 30;
    r->wanted = 20 + 5 * i % 13;
    r->known = r->prompt;
    fill(numbers, CONTEXT, 1.0f);
    memcpy(r->token, system_prompt, sizeof system_prompt);
    for (int t = SYSTEM; t < r->prompt; t++) {
        r->token[t] = (int32_t)((numbers[t] + 1.0f) * 0.5f * (VOCAB - 1));
    }
}

static void say(struct request *r, const float *hidden)
{
    memcpy(r->said[r->known], hidden, sizeof r->said[0]);
    r->token[r->known++] = choose(hidden);
}

static bool finished(const struct request *r)
{
    return r->known - r->prompt >= r->wanted;
}

/* What followed the last time that the last token stood there. */
static int guess(const struct request *r, int32_t *token)
{
    int n = 0;

    for (int t = r->known - 2; t >= 0 && n == 0; t--) {
        if (r->token[t] == r->token[r->known - 1]) {
            while (n < GUESSES && t + 1 + n < r->known) {
                token[n] = r->token[t + 1 + n];
                n++;
            }
        }
    }
    return n;
}

/* The request's part of the next call: a piece of its prompt, or its last token and guesses. */
static void plan(const struct request *r, int32_t sequence, struct call *call)
{
    int32_t token[CONTEXT];
    const int room = BUDGET - call->tokens;
    int n = r->known - r->held;

    memcpy(token, r->token + r->held, (size_t)n * sizeof *token);
    if (n == 1) {
        n += guess(r, token + 1);
    }
    n = n < PIECE ? n : PIECE;
    n = n < room ? n : room;
    if (n > 0) {
        add_tokens(call, sequence, token, n);
    }
}

/* What the call said: nothing while the prompt lasts; else a token, and one more for every guess
 * that was right. The rest of the guesses is taken back. */
static gqa_status take(struct model *m, struct request *r, const struct call *call, int entry)
{
    const int32_t first = call->begin[entry], n = call->begin[entry + 1] - first;
    int t = r->known - r->held - 1; /* of the call's tokens, the last that is known */

    if (t < n) {
        say(r, call->hidden[first + t]);
        while (t + 1 < n && call->token[first + t + 1] == r->token[r->known - 1] && !finished(r)) {
            t++;
            say(r, call->hidden[first + t]);
        }
        r->held = r->known - 1;
    } else {
        r->held += n;
    }
    return gqa_model_cache_truncate(m->caches, call->sequence[entry], r->held, &m->err);
}

/* --- serving ---------------------------------------------------------------------------------- */

static gqa_status admit(struct model *m, struct request *all, int step)
{
    gqa_status status = GQA_OK;

    for (int i = 0; i < REQUESTS && status == GQA_OK; i++) {
        if (all[i].arrives == step) {
            all[i].running = true;
            all[i].held = SYSTEM;
            status = gqa_model_cache_fork(m->caches, REQUESTS, i, &m->err);
        }
    }
    return status;
}

/* One line of the table: what each request did. */
static void show(const struct model *m, const struct request *all, const struct call *call,
                 int step, const int *known)
{
    printf("%4d %6d %6lld  ", step, (int)call->tokens,
           (long long)gqa_cache_free_pages(gqa_model_cache_layer(m->caches, 0)));
    for (int i = 0; i < REQUESTS; i++) {
        char cell[32] = "";
        for (int e = 0; e < call->batch; e++) {
            if (call->sequence[e] == i) {
                const int said = all[i].known - known[i];
                snprintf(cell, sizeof cell, said > 0 ? "+%d%s" : "p%d%s",
                         said > 0 ? said : (int)(call->begin[e + 1] - call->begin[e]),
                         all[i].done ? " end" : "");
            }
        }
        printf("%-8s", cell);
    }
    printf("\n");
}

static gqa_status serve_step(struct model *m, struct request *all, int step)
{
    static struct call call;
    gqa_status status = admit(m, all, step);
    int known[REQUESTS];

    memset(&call, 0, sizeof call);
    for (int i = 0; i < REQUESTS; i++) {
        const int r = (i + step) % REQUESTS; /* nobody is always the last */
        known[r] = all[r].known;
        if (all[r].running) {
            plan(&all[r], r, &call);
        }
    }
    if (status == GQA_OK) {
        status = run_call(m, &call);
    }
    for (int e = 0; e < call.batch && status == GQA_OK; e++) {
        struct request *const r = &all[call.sequence[e]];
        status = take(m, r, &call, e);
        if (status == GQA_OK && finished(r)) {
            r->running = false;
            r->done = true;
            status = gqa_model_cache_truncate(m->caches, call.sequence[e], 0, &m->err);
        }
    }
    if (status == GQA_OK) {
        show(m, all, &call, step, known);
    }
    return status;
}

static gqa_status serve(struct model *m, struct request *all)
{
    static struct call first;
    gqa_status status;
    int left = REQUESTS;

    memset(&first, 0, sizeof first);
    add_tokens(&first, REQUESTS, system_prompt, SYSTEM);
    status = run_call(m, &first);
    printf("step tokens  pages  what each request did (%d tokens of system prompt are there)\n",
           SYSTEM);
    for (int step = 0; left > 0 && status == GQA_OK; step++) {
        status = serve_step(m, all, step);
        left = 0;
        for (int i = 0; i < REQUESTS; i++) {
            left += all[i].done ? 0 : 1;
        }
    }
    return status;
}

/* The same request alone: its prompt in one call, then token by token. */
static gqa_status run_alone(struct model *m, struct request *r)
{
    static struct call call;
    gqa_status status = gqa_model_cache_truncate(m->caches, 0, 0, &m->err);

    while (status == GQA_OK && !finished(r)) {
        memset(&call, 0, sizeof call);
        add_tokens(&call, 0, r->token + r->held, r->known - r->held);
        status = run_call(m, &call);
        r->held = r->known;
        say(r, call.hidden[call.tokens - 1]);
    }
    return status;
}

static int compare(const struct request *served, const struct request *alone)
{
    int differ = 0;

    for (int t = alone->prompt; t < alone->prompt + alone->wanted; t++) {
        differ += served->token[t] != alone->token[t] ||
                  memcmp(served->said[t], alone->said[t], sizeof alone->said[t]) != 0;
    }
    return differ;
}

int main(void)
{
    static struct request all[REQUESTS], alone[REQUESTS];
    struct model served, single;
    gqa_status status;
    int differ = 0, tokens = 0;

    fill(embedding, VOCAB * HIDDEN, 1.0f);
    fill(unembedding, VOCAB * HIDDEN, 1.0f);
    for (int i = 0; i < LAYERS; i++) {
        fill(norm[i], HIDDEN, 1.0f);
        fill(wqkv[i], ROWS * HIDDEN, 0.3f);
        fill(wo[i], HIDDEN * HQ * D, 0.3f);
    }
    for (int t = 0; t < SYSTEM; t++) {
        system_prompt[t] = t * 31 % VOCAB;
    }
    for (int i = 0; i < REQUESTS; i++) {
        make_request(&all[i], i);
        alone[i] = all[i];
    }
    status = open_model(&served, REQUESTS + 1);
    if (status == GQA_OK) {
        status = serve(&served, all);
    }
    if (status != GQA_OK) {
        printf("%s: %s\n", gqa_status_string(status), served.err.message);
    }
    if (status == GQA_OK && (status = open_model(&single, 1)) == GQA_OK) {
        for (int i = 0; i < REQUESTS && status == GQA_OK; i++) {
            status = run_alone(&single, &alone[i]);
            differ += compare(&all[i], &alone[i]);
            tokens += alone[i].wanted;
        }
        printf("%d tokens of %d requests, served together and alone: %s\n", tokens, REQUESTS,
               differ == 0 ? "the same bits" : "DIFFERENT");
    }
    if (status == GQA_OK) {
        close_model(&single);
    }
    close_model(&served);
    return status == GQA_OK && differ == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
