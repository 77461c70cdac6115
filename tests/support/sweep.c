/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.c - see sweep.h. */
#include "support/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Ways in which the k-th allocation fails. */
enum { FAILS, ALL_FAIL, IS_SKEWED, ALL_ARE_SKEWED, MODES };

/* k -1: no allocation fails. */
static void arm(struct host *host, int mode, int64_t k)
{
    static const size_t skews[] = {8, 16, 32, 56};
    host->fail_at = mode == FAILS ? k : -1;
    host->fail_from = mode == ALL_FAIL ? k : -1;
    host->skew_at = mode == IS_SKEWED ? k : -1;
    host->skew_from = mode == ALL_ARE_SKEWED ? k : -1;
    host->skew = skews[(k + mode) & 3];
}

/* Is the failure reported as what it is? */
static bool reported(int mode, gqa_status status, const gqa_error *err)
{
    const bool skewed = mode == IS_SKEWED || mode == ALL_ARE_SKEWED;
    return status == (skewed ? GQA_ERR_ARG : GQA_ERR_NOMEM) && err->status == status &&
           err->field != NULL && err->message[0] != '\0' &&
           (!skewed || (strcmp(err->field, "runtime.alloc") == 0 &&
                        strstr(err->message, "aligned to the 64") != NULL));
}

int64_t sweep(struct host *host, const struct attempt *attempt)
{
    for (int64_t k = 0; k < 1000; k++) {
        for (int mode = 0; mode < MODES; mode++) {
            gqa_error err = {GQA_OK, NULL, ""};
            int64_t live = host->live;
            gqa_status status;
            host->calls = 0;
            arm(host, mode, k);
            status = attempt->run(attempt->arg, &err);
            arm(host, mode, -1);
            if (host->live != live) {
                fail_msg("%s leaks %d blocks when allocation %d fails", attempt->name,
                         (int)(host->live - live), (int)k);
            }
            if (host->calls <= k) { /* the failing one was not reached */
                if (status != GQA_OK) {
                    fail_msg("%s: %s", attempt->name, err.message);
                }
                return k;
            }
            if (!reported(mode, status, &err)) {
                fail_msg("%s: status %d (%s) when allocation %d fails in way %d", attempt->name,
                         (int)status, err.message, (int)k, mode);
            }
            if (attempt->unchanged != NULL) {
                attempt->unchanged(attempt->arg);
            }
        }
    }
    fail_msg("%s never gets through", attempt->name);
    return 0;
}

struct creation {
    const struct weight_set *set;
    gqa_runtime runtime;
    gqa_layer *layer;
};

static gqa_status create(void *arg, gqa_error *err)
{
    struct creation *const c = arg;
    gqa_status status;

    c->layer = (gqa_layer *)(void *)c; /* must become NULL */
    status = gqa_create(&c->layer, &c->set->config, &c->set->weights, &c->runtime, err);
    if (status == GQA_OK) {
        gqa_destroy(&c->layer);
    }
    return status;
}

static void layer_is_null(void *arg)
{
    assert_null(((struct creation *)arg)->layer);
}

int64_t sweep_create(const char *name, const struct weight_set *set)
{
    struct host host;
    struct creation c = {.set = set};
    const struct attempt attempt = {name, create, layer_is_null, &c};

    c.runtime = host_start(&host, 1);
    return sweep(&host, &attempt);
}
