/* SPDX-License-Identifier: Apache-2.0 */
/* Public structs of any struct_size: shorter, longer, garbage; and the errors' text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/import.h"
#include "support/program.h"

/* The library's own struct, what it was once, and what it will be. */
struct own {
    uint32_t struct_size;
    int32_t a;
    double b;
    int32_t c, d;
};

struct old {
    uint32_t struct_size;
    int32_t a;
    double b;
};

struct newer {
    struct own own;
    double e;
    int32_t f[6];
};

static void same_size(void **state)
{
    const struct own in = {sizeof in, 1, 2.5, 3, 4};
    struct own own;

    (void)state;
    memset(&own, 0xff, sizeof own);
    assert_int_equal(gqa__import(&own, sizeof own, &in, "config", NULL), GQA_OK);
    assert_memory_equal(&own, &in, sizeof own);
}

static void shorter_struct_gets_zeros(void **state)
{
    const struct old in = {sizeof in, 1, 2.5};
    struct own own;

    (void)state;
    memset(&own, 0xff, sizeof own);
    assert_int_equal(gqa__import(&own, sizeof own, &in, "config", NULL), GQA_OK);
    assert_int_equal(own.struct_size, sizeof own);
    assert_int_equal(own.a, 1);
    assert_true(own.b == 2.5);
    assert_int_equal(own.c, 0);
    assert_int_equal(own.d, 0);
}

static void longer_struct_must_end_in_zeros(void **state)
{
    struct newer in;
    struct own own;
    gqa_error err;

    (void)state;
    memset(&in, 0, sizeof in);
    in.own = (struct own){sizeof in, 1, 2.5, 3, 4};
    assert_int_equal(gqa__import(&own, sizeof own, &in, "config", NULL), GQA_OK);
    assert_int_equal(own.struct_size, sizeof own);
    assert_int_equal(own.d, 4);
    in.f[5] = 1 << 24; /* the last byte */
    assert_int_equal(gqa__import(&own, sizeof own, &in, "config", &err), GQA_ERR_UNSUPPORTED);
    assert_int_equal(err.status, GQA_ERR_UNSUPPORTED);
    assert_string_equal(err.field, "config");
    assert_non_null(strstr(err.message, "struct_size is 56"));
    assert_non_null(strstr(err.message, "24 bytes"));
}

static void refused_sizes(void **state)
{
    struct own in = {0, 1, 2.5, 3, 4};
    struct own own;
    gqa_error err;
    const uint32_t sizes[] = {0, 1, 3, sizeof in + 4097, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        in.struct_size = sizes[i];
        assert_int_equal(gqa__import(&own, sizeof own, &in, "weights", &err), GQA_ERR_ARG);
        assert_string_equal(err.field, "weights");
        assert_non_null(strstr(err.message, "init"));
    }
    assert_int_equal(gqa__import(&own, sizeof own, NULL, "weights", &err), GQA_ERR_ARG);
    assert_non_null(strstr(err.message, "NULL"));
}

static void export_to_any_size(void **state)
{
    const struct own own = {sizeof own, 1, 2.5, 3, 4};
    struct old old = {sizeof old, 9, 9.0};
    struct newer out;

    (void)state;
    gqa__export(&old, &own, sizeof own);
    assert_int_equal(old.struct_size, sizeof old);
    assert_int_equal(old.a, 1);
    assert_true(old.b == 2.5);
    memset(&out, 0x77, sizeof out);
    out.own.struct_size = sizeof out;
    gqa__export(&out, &own, sizeof own);
    assert_int_equal(out.own.struct_size, sizeof out);
    assert_int_equal(out.own.d, 4);
    assert_int_equal(out.f[0], 0x77777777); /* fields that this library does not know */
}

/* A field goes where it is, and no further than the caller's struct. */
static void export_of_a_field(void **state)
{
    const double b = 2.5;
    const int32_t d = 4;

    (void)state;
    for (uint32_t size = 4; size <= sizeof(struct own); size++) {
        unsigned char bytes[sizeof(struct own)], want[sizeof(struct own)];
        memset(bytes, 0x77, sizeof bytes);
        memcpy(bytes, &size, sizeof size);
        memcpy(want, bytes, sizeof want);
        for (size_t i = 0; i < sizeof b; i++) {
            const size_t at = offsetof(struct own, b) + i;
            want[at] = at < size ? ((const unsigned char *)&b)[i] : want[at];
        }
        for (size_t i = 0; i < sizeof d; i++) {
            const size_t at = offsetof(struct own, d) + i;
            want[at] = at < size ? ((const unsigned char *)&d)[i] : want[at];
        }
        gqa__export_field(bytes, offsetof(struct own, b), &b, sizeof b);
        gqa__export_field(bytes, offsetof(struct own, d), &d, sizeof d);
        assert_memory_equal(bytes, want, sizeof want);
    }
}

static void init_of_any_size(void **state)
{
    unsigned char bytes[40];
    uint32_t size;

    (void)state;
    for (size_t n = 0; n <= 32; n++) {
        memset(bytes, 0xee, sizeof bytes);
        gqa__init_struct(bytes, n);
        if (n >= sizeof size) {
            memcpy(&size, bytes, sizeof size);
            assert_int_equal(size, n);
        }
        for (size_t i = sizeof size; i < sizeof bytes; i++) {
            assert_int_equal(bytes[i], i < n ? 0 : 0xee);
        }
    }
}

static void error_text(void **state)
{
    char text[400];
    gqa_error err;

    (void)state;
    memset(&err, 0x55, sizeof err);
    assert_int_equal(gqa__fail(&err, GQA_ERR_SHAPE, "wq", "rank is %d; it must be %d", 3, 2),
                     GQA_ERR_SHAPE);
    assert_int_equal(err.status, GQA_ERR_SHAPE);
    assert_string_equal(err.field, "wq");
    assert_string_equal(err.message, "wq: rank is 3; it must be 2");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(gqa__fail(&err, GQA_ERR_ARG, "wq", "%s", text), GQA_ERR_ARG);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(gqa__fail(&err, GQA_ERR_ARG, text, "%d", 1), GQA_ERR_ARG);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(gqa__fail(NULL, GQA_ERR_NOMEM, "layer", "%d bytes", 1), GQA_ERR_NOMEM);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_size),
        cmocka_unit_test(shorter_struct_gets_zeros),
        cmocka_unit_test(longer_struct_must_end_in_zeros),
        cmocka_unit_test(refused_sizes),
        cmocka_unit_test(export_to_any_size),
        cmocka_unit_test(export_of_a_field),
        cmocka_unit_test(init_of_any_size),
        cmocka_unit_test(error_text),
    };

    return RUN_TESTS(argc, argv, tests);
}
