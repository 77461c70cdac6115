/* SPDX-License-Identifier: Apache-2.0 */
/* error.h - the one way a failure is reported. */
#ifndef GQA__ERROR_H
#define GQA__ERROR_H

#include "gqa/types.h"

/* Fill *err (may be NULL) and return status. field must be a static string. The message becomes
 * "field: text", so the text needs the value and the limit only. */
gqa_status gqa__fail(gqa_error *err, gqa_status status, const char *field, const char *format, ...)
#if defined(__MINGW32__)
    __attribute__((format(gnu_printf, 4, 5)))
#elif defined(__GNUC__)
    __attribute__((format(printf, 4, 5)))
#endif
    ;

#endif
