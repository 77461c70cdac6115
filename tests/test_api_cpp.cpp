/* SPDX-License-Identifier: Apache-2.0 */
/* The same text as C++17. */
#include "test_api_c.c"
