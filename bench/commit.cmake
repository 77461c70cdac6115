# SPDX-License-Identifier: Apache-2.0
# usage: cmake -DSOURCE=FOLDER -DFILE=commit.h -P commit.cmake
# Writes the commit that SOURCE stands at, for the files that gqa-bench writes; "unknown" where it is
# no checkout of its own. The file keeps its date while nothing changes.
set(_commit "unknown")
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-cdup OUTPUT_VARIABLE _above
    ERROR_QUIET RESULT_VARIABLE _none OUTPUT_STRIP_TRAILING_WHITESPACE)
if(_none EQUAL 0 AND _above STREQUAL "")
    execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
        OUTPUT_VARIABLE _said ERROR_QUIET RESULT_VARIABLE _none OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(_none EQUAL 0)
        set(_commit ${_said})
    endif()
endif()
set(_text "/* commit.h - the commit that gqa-bench is built from. */
#define GQA_BENCH_COMMIT \"${_commit}\"
")
set(_old "")
if(EXISTS ${FILE})
    file(READ ${FILE} _old)
endif()
if(NOT _old STREQUAL _text)
    file(WRITE ${FILE} "${_text}")
endif()
