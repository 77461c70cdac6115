/* SPDX-License-Identifier: Apache-2.0 */
/* vnni.c - see vnni.h. The build gives this file the flags of avx512 and -mavx512vnni. */
#include "kernel/vnni/vnni.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_VNNI

#include "kernel/vector/integer.h"

const struct gqa__integer_kernels *gqa__vnni_integer(void)
{
    return &vector_integer;
}

#else

const struct gqa__integer_kernels *gqa__vnni_integer(void)
{
    return NULL;
}

#endif
